# Redis with a replica. No snapshots: a cache that comes back with older data breaks the promise that
# a read is never older than the fence.

resource "aws_elasticache_replication_group" "main" {
  # checkov:skip=CKV_AWS_134:it must never be restored from older data; all of it is in PostgreSQL
  replication_group_id       = var.name
  description                = "States of resources, for at most CACHE_TTL"
  engine                     = "redis"
  engine_version             = "7.1"
  node_type                  = var.cache_node_type
  num_cache_clusters         = 2
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
}

# In the state, because ElastiCache has no write-only argument for it.
resource "random_password" "redis" {
  length  = 48
  special = false
}

resource "aws_elasticache_parameter_group" "main" {
  name   = var.name
  family = "redis7"

  # A key that is gone is always right, so any may go.
  parameter {
    name  = "maxmemory-policy"
    value = "allkeys-lru"
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
