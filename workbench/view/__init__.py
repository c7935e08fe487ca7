"""Pure panels and safe text."""
