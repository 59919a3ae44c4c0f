# What a site is asked to be, without an account: AWS is mocked.
mock_provider "aws" {
  mock_data "aws_availability_zones" {
    defaults = { names = ["eu-central-1a", "eu-central-1b", "eu-central-1c"] }
  }
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{\"Version\":\"2012-10-17\",\"Statement\":[]}" }
  }
  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/mocked" }
  }
  mock_resource "aws_iam_openid_connect_provider" {
    defaults = { arn = "arn:aws:iam::123456789012:oidc-provider/oidc.example" }
  }
  mock_resource "aws_s3_bucket" {
    defaults = { arn = "arn:aws:s3:::mocked" }
  }
  mock_resource "aws_eks_cluster" {
    defaults = { identity = [{ oidc = [{ issuer = "https://oidc.example/id/0" }] }] }
  }
  mock_resource "aws_ecr_repository" {
    defaults = { repository_url = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/mocked" }
  }
  mock_resource "aws_db_instance" {
    defaults = {
      endpoint = "database.example:5432"
      master_user_secret = [{
        kms_key_id    = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000"
        secret_arn    = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:mocked"
        secret_status = "active"
      }]
    }
  }
}

variables {
  domain         = "pets.example.org"
  administrators = ["arn:aws:iam::123456789012:role/administrator"]
}

run "a_whole_site" {
  assert {
    condition     = output.IMAGELOOP_REGISTRY == "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
    error_message = "IMAGELOOP_REGISTRY is the registry without a repository, as stacks/kubernetes.yaml expects it"
  }
  assert {
    condition     = aws_kms_key.site.enable_key_rotation
    error_message = "the key of everything at rest rotates"
  }
}

run "the_api_server_is_private_unless_callers_are_named" {
  module { source = "./cluster" }
  variables {
    name               = "imageloop"
    kubernetes_version = "1.33"
    subnets            = ["subnet-00000000000000000", "subnet-00000000000000001"]
    key_arn            = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000"
    bucket_arn         = "arn:aws:s3:::mocked"
    callers            = []
    namespaces         = ["imageloop-staging", "imageloop-production"]
  }
  assert {
    condition     = !aws_eks_cluster.site.vpc_config[0].endpoint_public_access
    error_message = "without callers only the private network reaches the API server"
  }
  assert {
    condition = toset(keys(aws_eks_pod_identity_association.pod)) == toset([
      "imageloop-staging/imageloop", "imageloop-staging/mlflow", "imageloop-production/imageloop", "imageloop-production/mlflow",
    ])
    error_message = "steps and MLflow of each overlay reach the bucket, and nobody else does"
  }
}

run "a_database_is_encrypted_and_refuses_plain_connections" {
  module { source = "./database" }
  variables {
    name           = "imageloop-mlflow"
    engine         = "postgres"
    engine_version = "17"
    vpc            = "vpc-00000000000000000"
    subnets        = ["subnet-00000000000000000", "subnet-00000000000000001"]
    key_arn        = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000"
    callers        = "sg-00000000000000000"
  }
  assert {
    condition     = aws_db_instance.it.storage_encrypted && aws_db_instance.it.deletion_protection && aws_db_instance.it.manage_master_user_password
    error_message = "the database is encrypted, protected, and its password is not in the state"
  }
  assert {
    condition     = contains([for one in aws_db_parameter_group.it.parameter : "${one.name}=${one.value}"], "rds.force_ssl=1")
    error_message = "connections without TLS are refused"
  }
}
