variable "name" {
  description = "Of everything that is made; parts of it are names of buckets."
  type        = string
  default     = "imageloop"
}

variable "region" {
  type    = string
  default = "eu-central-1"
}

variable "domain" {
  description = "Whose zone is made; its name servers are in the outputs."
  type        = string
}

variable "cidr" {
  type    = string
  default = "10.20.0.0/16"
}

variable "kubernetes_version" {
  type    = string
  default = "1.33"
}

variable "administrators" {
  description = "ARNs of the roles that may do anything in the cluster."
  type        = list(string)
}

variable "callers" {
  description = "CIDR ranges with access to the API server; by default none, only the private network has access."
  type        = list(string)
  default     = []
}

variable "namespaces" {
  description = "Of the overlays under deploy/kubernetes: whose pods may use the bucket."
  type        = list(string)
  default     = ["imageloop-staging", "imageloop-production"]
}
