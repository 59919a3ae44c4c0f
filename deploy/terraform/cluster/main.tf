# EKS with one group of nodes. Pods reach the bucket by who they are, and no key is stored: steps and MLflow by EKS Pod Identity, what
# serves by a token of its service account, for Seldon's storage initializer is built with a release of AWS' SDK that knows nothing else.
variable "name" { type = string }
variable "kubernetes_version" { type = string }
variable "subnets" { type = list(string) }
variable "key_arn" { type = string }
variable "bucket_arn" { type = string }
variable "administrators" { type = list(string) }
variable "callers" { type = list(string) }
variable "namespaces" { type = list(string) }

resource "aws_eks_cluster" "site" {
  name                      = var.name
  role_arn                  = aws_iam_role.cluster.arn
  version                   = var.kubernetes_version
  enabled_cluster_log_types = ["api", "audit", "authenticator", "controllerManager", "scheduler"]
  access_config {
    authentication_mode                         = "API"
    bootstrap_cluster_creator_admin_permissions = false # who may administer it is named, the creator too
  }
  encryption_config {
    resources = ["secrets"]
    provider { key_arn = var.key_arn }
  }
  vpc_config {
    subnet_ids              = var.subnets
    endpoint_private_access = true
    endpoint_public_access  = length(var.callers) > 0
    public_access_cidrs     = length(var.callers) > 0 ? var.callers : null
  }
  depends_on = [aws_iam_role_policy_attachment.cluster]
}

resource "aws_eks_access_entry" "administrator" {
  for_each      = toset(var.administrators)
  cluster_name  = aws_eks_cluster.site.name
  principal_arn = each.value
}

resource "aws_eks_access_policy_association" "administrator" {
  for_each      = toset(var.administrators)
  cluster_name  = aws_eks_cluster.site.name
  principal_arn = each.value
  policy_arn    = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"
  access_scope { type = "cluster" }
}

resource "aws_eks_node_group" "general" {
  cluster_name    = aws_eks_cluster.site.name
  node_group_name = "general"
  node_role_arn   = aws_iam_role.node.arn
  subnet_ids      = var.subnets
  instance_types  = ["m7i.xlarge"]
  scaling_config {
    min_size     = 2
    desired_size = 2
    max_size     = 6
  }
  update_config { max_unavailable = 1 }
  depends_on = [aws_iam_role_policy_attachment.node]
}

resource "aws_eks_addon" "part" {
  for_each     = toset(["vpc-cni", "coredns", "kube-proxy", "eks-pod-identity-agent", "metrics-server"])
  cluster_name = aws_eks_cluster.site.name
  addon_name   = each.value
  # EKS puts unmanaged ones there itself.
  resolve_conflicts_on_create = "OVERWRITE"
  resolve_conflicts_on_update = "OVERWRITE"
  # The network's own agent enforces NetworkPolicies.
  configuration_values = each.value == "vpc-cni" ? jsonencode({ enableNetworkPolicy = "true" }) : null
  depends_on           = [aws_eks_node_group.general]
}

# Who the cluster, its nodes and our pods are.
resource "aws_iam_role" "cluster" {
  name               = "${var.name}-cluster"
  assume_role_policy = data.aws_iam_policy_document.assumed_by["eks.amazonaws.com"].json
}

resource "aws_iam_role" "node" {
  name               = "${var.name}-node"
  assume_role_policy = data.aws_iam_policy_document.assumed_by["ec2.amazonaws.com"].json
}

resource "aws_iam_role" "pod" {
  name               = "${var.name}-pod"
  assume_role_policy = data.aws_iam_policy_document.assumed_by["pods.eks.amazonaws.com"].json
}

# The public service reads packages, and writes nothing.
resource "aws_iam_role" "service" {
  name               = "${var.name}-service"
  assume_role_policy = data.aws_iam_policy_document.assumed_by_service.json
}

resource "aws_iam_openid_connect_provider" "site" {
  url            = aws_eks_cluster.site.identity[0].oidc[0].issuer
  client_id_list = ["sts.amazonaws.com"]
}

locals { issuer = trimprefix(aws_eks_cluster.site.identity[0].oidc[0].issuer, "https://") }

data "aws_iam_policy_document" "assumed_by_service" {
  statement {
    actions = ["sts:AssumeRoleWithWebIdentity"]
    principals {
      type        = "Federated"
      identifiers = [aws_iam_openid_connect_provider.site.arn]
    }
    condition {
      test     = "StringEquals"
      variable = "${local.issuer}:aud"
      values   = ["sts.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "${local.issuer}:sub"
      values   = [for namespace in var.namespaces : "system:serviceaccount:${namespace}:imageloop-service"]
    }
  }
}

data "aws_iam_policy_document" "assumed_by" {
  for_each = toset(["eks.amazonaws.com", "ec2.amazonaws.com", "pods.eks.amazonaws.com"])
  statement {
    actions = each.value == "pods.eks.amazonaws.com" ? ["sts:AssumeRole", "sts:TagSession"] : ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = [each.value]
    }
  }
}

resource "aws_iam_role_policy_attachment" "cluster" {
  role       = aws_iam_role.cluster.name
  policy_arn = "arn:aws:iam::aws:policy/AmazonEKSClusterPolicy"
}

resource "aws_iam_role_policy_attachment" "node" {
  for_each   = toset(["AmazonEKSWorkerNodePolicy", "AmazonEKS_CNI_Policy", "AmazonEC2ContainerRegistryPullOnly"])
  role       = aws_iam_role.node.name
  policy_arn = "arn:aws:iam::aws:policy/${each.value}"
}

resource "aws_iam_role_policy" "pod" {
  role   = aws_iam_role.pod.name
  policy = data.aws_iam_policy_document.pod.json
}

data "aws_iam_policy_document" "pod" {
  statement {
    actions   = ["s3:ListBucket"]
    resources = [var.bucket_arn]
  }
  statement {
    actions   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
    resources = ["${var.bucket_arn}/*"]
  }
  statement {
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = [var.key_arn]
  }
}

resource "aws_iam_role_policy" "service" {
  role   = aws_iam_role.service.name
  policy = data.aws_iam_policy_document.service.json
}

data "aws_iam_policy_document" "service" {
  statement {
    actions   = ["s3:ListBucket"]
    resources = [var.bucket_arn]
  }
  statement {
    actions   = ["s3:GetObject"]
    resources = ["${var.bucket_arn}/mlflow/*"]
  }
  statement {
    actions   = ["kms:Decrypt"]
    resources = [var.key_arn]
  }
}

# Steps and MLflow, in each namespace of the overlays.
resource "aws_eks_pod_identity_association" "pod" {
  for_each        = { for pair in setproduct(var.namespaces, ["imageloop", "mlflow"]) : join("/", pair) => pair }
  cluster_name    = aws_eks_cluster.site.name
  namespace       = each.value[0]
  service_account = each.value[1]
  role_arn        = aws_iam_role.pod.arn
}

output "name" { value = aws_eks_cluster.site.name }
output "service_role" { value = aws_iam_role.service.arn }
output "security_group" { value = aws_eks_cluster.site.vpc_config[0].cluster_security_group_id }
