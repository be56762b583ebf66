# Redis: a primary with a replica, or a cluster of such shards (var.cache_shards). No snapshots: a cache restored from
# older data would break the promise that a read is never older than the fence.

locals {
  is_cache_cluster = var.cache_shards != null
  # The services' settings for Redis.
  cache_address     = local.is_cache_cluster ? aws_elasticache_replication_group.main.configuration_endpoint_address : aws_elasticache_replication_group.main.primary_endpoint_address
  cache_environment = local.is_cache_cluster ? { REDIS_CLUSTER = "true" } : {}
}

# ElastiCache cannot convert a single-shard Redis to a cluster, nor the reverse.
resource "terraform_data" "is_cache_cluster" {
  input = local.is_cache_cluster
}

resource "aws_elasticache_replication_group" "main" {
  # checkov:skip=CKV_AWS_134:it must never be restored from older data; all of it is in PostgreSQL
  replication_group_id       = var.name
  description                = "States of resources, for at most CACHE_TTL"
  engine                     = "redis"
  engine_version             = "7.1"
  node_type                  = var.cache_node_type
  num_cache_clusters         = local.is_cache_cluster ? null : 2
  num_node_groups            = var.cache_shards
  replicas_per_node_group    = local.is_cache_cluster ? 1 : null
  automatic_failover_enabled = true
  multi_az_enabled           = true
  parameter_group_name       = aws_elasticache_parameter_group.main.name
  subnet_group_name          = aws_elasticache_subnet_group.main.name
  security_group_ids         = [aws_security_group.cache.id]
  at_rest_encryption_enabled = true
  kms_key_id                 = aws_kms_key.main.arn
  transit_encryption_enabled = true
  transit_encryption_mode    = "required"
  auth_token                 = random_password.redis.result
  auth_token_update_strategy = "ROTATE"
  snapshot_retention_limit   = 0

  lifecycle {
    replace_triggered_by = [terraform_data.is_cache_cluster]
  }
}

# The password is in the state, because ElastiCache has no write-only argument for it.
resource "random_password" "redis" {
  length  = 48
  special = false
}

resource "aws_elasticache_parameter_group" "main" {
  name   = local.is_cache_cluster ? "${var.name}-cluster" : var.name
  family = "redis7"

  # Any key may be evicted: a missing entry is never wrong.
  parameter {
    name  = "maxmemory-policy"
    value = "allkeys-lru"
  }

  dynamic "parameter" {
    for_each = local.is_cache_cluster ? ["yes"] : []

    content {
      name  = "cluster-enabled"
      value = parameter.value
    }
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_elasticache_subnet_group" "main" {
  name       = var.name
  subnet_ids = aws_subnet.private[*].id
}

resource "aws_security_group" "cache" {
  name        = "${var.name}-cache"
  description = "Redis"
  vpc_id      = aws_vpc.main.id
}

resource "aws_vpc_security_group_ingress_rule" "cache" {
  for_each                     = local.service_security_groups
  security_group_id            = aws_security_group.cache.id
  description                  = "From the ${each.key}"
  referenced_security_group_id = each.value
  ip_protocol                  = "tcp"
  from_port                    = 6379
  to_port                      = 6379
}
