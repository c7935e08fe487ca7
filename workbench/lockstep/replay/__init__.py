"""The reference on recorded inputs: judged again, or decoded further."""
