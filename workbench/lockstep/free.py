"""Free lockstep: each path lives on its own outputs; emitted streams are compared by absolute position."""
