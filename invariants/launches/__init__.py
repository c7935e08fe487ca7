"""What the launches of an engine do to shared blocks, launch after launch, for the rules across requests."""
