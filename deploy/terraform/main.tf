# A cluster with what ImageLoop needs around it, on AWS: registry, bucket, two databases, a name.
#   terraform init -backend-config=backend.hcl && terraform apply -var domain=pets.example.org -var 'administrators=["arn:..."]'
terraform {
  required_version = ">= 1.9"
  required_providers {
    aws = { source = "hashicorp/aws", version = "~> 6.0" }
  }
  backend "s3" {} # each team chooses where its state is: backend.hcl names bucket, key and region
}

provider "aws" {
  region = var.region
  default_tags { tags = { project = var.name } }
}

module "network" {
  source = "./network"
  name   = var.name
  cidr   = var.cidr
}

module "cluster" {
  source             = "./cluster"
  name               = var.name
  kubernetes_version = var.kubernetes_version
  subnets            = module.network.private_subnets
  key_arn            = aws_kms_key.site.arn
  bucket_arn         = module.bucket.arn
  administrators     = var.administrators
  callers            = var.callers
  namespaces         = var.namespaces
}

module "registry" {
  source       = "./registry"
  repositories = ["${var.name}-serve", "${var.name}-pipeline"]
  key_arn      = aws_kms_key.site.arn
}

module "bucket" {
  source  = "./bucket"
  name    = "${var.name}-${data.aws_caller_identity.current.account_id}"
  key_arn = aws_kms_key.site.arn
}

module "mlflow_and_records" {
  source         = "./database"
  name           = "${var.name}-mlflow"
  engine         = "postgres"
  engine_version = "17"
  vpc            = module.network.vpc
  subnets        = module.network.private_subnets
  callers        = module.cluster.security_group
  key_arn        = aws_kms_key.site.arn
}

module "zenml" {
  source         = "./database"
  name           = "${var.name}-zenml"
  engine         = "mysql"
  engine_version = "8.4"
  vpc            = module.network.vpc
  subnets        = module.network.private_subnets
  callers        = module.cluster.security_group
  key_arn        = aws_kms_key.site.arn
}

module "dns" {
  source = "./dns"
  domain = var.domain
}

data "aws_caller_identity" "current" {}

# One key for everything at rest.
resource "aws_kms_key" "site" {
  description         = "${var.name}: everything at rest"
  enable_key_rotation = true
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "TheAccountDecidesByItsOwnPolicies"
      Effect    = "Allow"
      Principal = { AWS = "arn:aws:iam::${data.aws_caller_identity.current.account_id}:root" }
      Action    = "kms:*"
      Resource  = "*"
    }]
  })
}
