"""What the workbench itself costs: one table of sizes and times, with goals; run by `make costs`."""
