"""Free lockstep: each path runs on its own outputs, the emitted texts are compared."""
