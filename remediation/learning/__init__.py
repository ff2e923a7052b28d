"""How a policy is learned: families of clusters, the environment, labels, and the training."""
