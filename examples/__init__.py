"""Small programs that use the workbench from outside."""
