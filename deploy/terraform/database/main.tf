# One database in two zones. Secrets Manager creates and stores its password.
variable "name" { type = string }
variable "engine" { type = string }
variable "engine_version" { type = string }
variable "vpc" { type = string }
variable "subnets" { type = list(string) }
variable "key_arn" { type = string }
variable "callers" {
  description = "The security group that may connect."
  type        = string
}

locals { port = var.engine == "postgres" ? 5432 : 3306 }

resource "aws_db_instance" "it" {
  identifier                          = var.name
  engine                              = var.engine
  engine_version                      = var.engine_version
  instance_class                      = "db.t4g.medium"
  allocated_storage                   = 20
  max_allocated_storage               = 200
  db_name                             = var.engine == "postgres" ? "mlflow" : "zenml"
  username                            = "imageloop"
  manage_master_user_password         = true
  master_user_secret_kms_key_id       = var.key_arn
  storage_encrypted                   = true
  kms_key_id                          = var.key_arn
  multi_az                            = true
  db_subnet_group_name                = aws_db_subnet_group.it.name
  vpc_security_group_ids              = [aws_security_group.it.id]
  iam_database_authentication_enabled = true
  backup_retention_period             = 14
  copy_tags_to_snapshot               = true
  deletion_protection                 = true
  final_snapshot_identifier           = "${var.name}-last"
  auto_minor_version_upgrade          = true
  performance_insights_enabled        = true
  performance_insights_kms_key_id     = var.key_arn
  monitoring_interval                 = 60
  monitoring_role_arn                 = aws_iam_role.monitoring.arn
  enabled_cloudwatch_logs_exports     = var.engine == "postgres" ? ["postgresql", "upgrade"] : ["error", "slowquery"]
  parameter_group_name                = aws_db_parameter_group.it.name
}

# Connections without TLS are refused.
resource "aws_db_parameter_group" "it" {
  name   = var.name
  family = "${var.engine}${var.engine_version}"
  parameter {
    name  = var.engine == "postgres" ? "rds.force_ssl" : "require_secure_transport"
    value = "1"
  }
}

resource "aws_db_subnet_group" "it" {
  name       = var.name
  subnet_ids = var.subnets
}

resource "aws_security_group" "it" {
  name        = "${var.name}-database"
  description = "Who may reach the database ${var.name}"
  vpc_id      = var.vpc
}

resource "aws_vpc_security_group_ingress_rule" "nodes" {
  description                  = "The cluster's nodes"
  security_group_id            = aws_security_group.it.id
  referenced_security_group_id = var.callers
  ip_protocol                  = "tcp"
  from_port                    = local.port
  to_port                      = local.port
}

resource "aws_iam_role" "monitoring" {
  name = "${var.name}-monitoring"
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = "monitoring.rds.amazonaws.com" } }]
  })
}

resource "aws_iam_role_policy_attachment" "monitoring" {
  role       = aws_iam_role.monitoring.name
  policy_arn = "arn:aws:iam::aws:policy/service-role/AmazonRDSEnhancedMonitoringRole"
}

output "access" {
  value = {
    address = aws_db_instance.it.endpoint
    secret  = aws_db_instance.it.master_user_secret[0].secret_arn
  }
}
