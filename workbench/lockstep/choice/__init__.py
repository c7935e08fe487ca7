"""What is chosen by measurement: operators, a tree, who drafts; one model of costs and acceptance for all."""
