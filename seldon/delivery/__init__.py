"""SeldonDeployments, the clusters that serve them, and rollouts."""
