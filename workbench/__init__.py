"""All that has a checkpoint, a device, a screen or a command."""
