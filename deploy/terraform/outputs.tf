# The variables of stacks/kubernetes.yaml.
output "IMAGELOOP_BUCKET" {
  value = module.bucket.name
}

output "IMAGELOOP_REGISTRY" {
  value = module.registry.address
}

output "service_role" {
  description = "For the annotation of the service account in each overlay."
  value       = module.cluster.service_role
}

output "cluster" {
  value = module.cluster.name
}

output "databases" {
  description = "Addresses, and the names of the passwords in Secrets Manager."
  value       = { mlflow_and_records = module.mlflow_and_records.access, zenml = module.zenml.access }
}

output "name_servers" {
  value = module.dns.name_servers
}
