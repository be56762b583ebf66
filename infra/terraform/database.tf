# Aurora PostgreSQL: a writer, and a reader that takes over from it.

resource "aws_rds_cluster" "main" {
  # checkov:skip=CKV2_AWS_8:Aurora's own continuous backup, to any second of 14 days, is what the restore in docs/operations.md needs
  cluster_identifier                  = var.name
  engine                              = "aurora-postgresql"
  engine_version                      = "17"
  database_name                       = "app"
  master_username                     = "app"
  master_password_wo                  = ephemeral.random_password.database.result
  master_password_wo_version          = var.database_password_version
  db_subnet_group_name                = aws_db_subnet_group.main.name
  vpc_security_group_ids              = [aws_security_group.database.id]
  db_cluster_parameter_group_name     = aws_rds_cluster_parameter_group.main.name
  storage_encrypted                   = true
  kms_key_id                          = aws_kms_key.main.arn
  iam_database_authentication_enabled = true
  # For point-in-time recovery: docs/operations.md. The topic keeps only a week of events.
  backup_retention_period         = 14
  copy_tags_to_snapshot           = true
  deletion_protection             = true
  skip_final_snapshot             = false
  final_snapshot_identifier       = "${var.name}-final"
  enabled_cloudwatch_logs_exports = ["postgresql"]

  serverlessv2_scaling_configuration {
    min_capacity = var.database_capacity[0]
    max_capacity = var.database_capacity[1]
  }
}

resource "aws_rds_cluster_instance" "main" {
  count                           = 2
  identifier                      = "${var.name}-${count.index}"
  cluster_identifier              = aws_rds_cluster.main.id
  engine                          = aws_rds_cluster.main.engine
  instance_class                  = "db.serverless"
  auto_minor_version_upgrade      = true
  performance_insights_enabled    = true
  performance_insights_kms_key_id = aws_kms_key.main.arn
  monitoring_interval             = 60
  monitoring_role_arn             = aws_iam_role.database_monitoring.arn
}

resource "aws_rds_cluster_parameter_group" "main" {
  name   = var.name
  family = "aurora-postgresql17"

  parameter {
    name  = "rds.force_ssl"
    value = "1"
  }
  # Log statements that take longer than this, in milliseconds.
  parameter {
    name  = "log_min_duration_statement"
    value = "1000"
  }
  # Log only DDL: other statements may contain payloads, which must not be in a log.
  parameter {
    name  = "log_statement"
    value = "ddl"
  }
  # For the same reason, log no parameters of slow or failed statements, and no DETAIL, which quotes rows.
  parameter {
    name  = "log_parameter_max_length"
    value = "0"
  }
  parameter {
    name  = "log_parameter_max_length_on_error"
    value = "0"
  }
  parameter {
    name  = "log_error_verbosity"
    value = "terse"
  }
}

resource "aws_db_subnet_group" "main" {
  name       = var.name
  subnet_ids = aws_subnet.private[*].id
}

resource "aws_security_group" "database" {
  name        = "${var.name}-database"
  description = "PostgreSQL"
  vpc_id      = aws_vpc.main.id
}

resource "aws_vpc_security_group_ingress_rule" "database" {
  for_each                     = local.service_security_groups
  security_group_id            = aws_security_group.database.id
  description                  = "From the ${each.key}"
  referenced_security_group_id = each.value
  ip_protocol                  = "tcp"
  from_port                    = 5432
  to_port                      = 5432
}

resource "aws_iam_role" "database_monitoring" {
  name               = "${var.name}-database-monitoring"
  assume_role_policy = data.aws_iam_policy_document.database_monitoring_assume.json
}

data "aws_iam_policy_document" "database_monitoring_assume" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["monitoring.rds.amazonaws.com"]
    }
  }
}

resource "aws_iam_role_policy_attachment" "database_monitoring" {
  role       = aws_iam_role.database_monitoring.name
  policy_arn = "arn:aws:iam::aws:policy/service-role/AmazonRDSEnhancedMonitoringRole"
}
