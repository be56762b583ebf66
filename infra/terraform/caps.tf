# Redis for the frequency caps of advertising (docs/operations.md, Advertising). It has the shape of the cache, because
# REDIS_CLUSTER applies to both. No snapshots: a restored one counts as empty, so it would save nothing.

locals {
  caps_address = local.is_cache_cluster ? aws_elasticache_replication_group.caps.configuration_endpoint_address : aws_elasticache_replication_group.caps.primary_endpoint_address
  # ElastiCache's names of the first node of each shard: all nodes of a shard need the same memory.
  caps_nodes = [for shard in range(1, coalesce(var.cache_shards, 1) + 1) :
    local.is_cache_cluster ? format("%s-caps-%04d-001", var.name, shard) : "${var.name}-caps-001"
  ]
}

resource "aws_elasticache_replication_group" "caps" {
  # checkov:skip=CKV_AWS_134:a restored snapshot counts as empty; the impressions themselves are in PostgreSQL
  replication_group_id       = "${var.name}-caps"
  description                = "Impressions of users, for frequency caps"
  engine                     = "redis"
  engine_version             = "7.1"
  node_type                  = var.caps_node_type
  num_cache_clusters         = local.is_cache_cluster ? null : 2
  num_node_groups            = var.cache_shards
  replicas_per_node_group    = local.is_cache_cluster ? 1 : null
  automatic_failover_enabled = true
  multi_az_enabled           = true
  parameter_group_name       = aws_elasticache_parameter_group.caps.name
  subnet_group_name          = aws_elasticache_subnet_group.main.name
  security_group_ids         = [aws_security_group.cache.id]
  at_rest_encryption_enabled = true
  kms_key_id                 = aws_kms_key.main.arn
  transit_encryption_enabled = true
  transit_encryption_mode    = "required"
  auth_token                 = random_password.caps.result
  auth_token_update_strategy = "ROTATE"
  snapshot_retention_limit   = 0

  lifecycle {
    replace_triggered_by = [terraform_data.is_cache_cluster]
  }
}

# In the state, as that of the cache.
resource "random_password" "caps" {
  length  = 48
  special = false
}

resource "aws_elasticache_parameter_group" "caps" {
  name   = local.is_cache_cluster ? "${var.name}-caps-cluster" : "${var.name}-caps"
  family = "redis7"

  # What it evicts it no longer counts. Full, it refuses, and capped campaigns with it: see AdsCapsFull.
  parameter {
    name  = "maxmemory-policy"
    value = "noeviction"
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
