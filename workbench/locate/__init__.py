"""From the first wrong stage to the operator in it: every named tensor against its own inputs."""
