"""Deployment files: Compose, Kubernetes, Argo CD, Terraform and observability."""
