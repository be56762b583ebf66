# Settings that must not be in the task definitions. Two or three secrets are set by hand, before the first deploy and at
# each rotation (docs/operations.md):
#   aws secretsmanager put-secret-value --secret-id NAME --secret-string file://...
# Kafka's are JSON, {"username": "...", "password": "..."} and {"certificate": "PEM", "key": "PEM"}, so that both change
# together, also for tasks of older revisions.

resource "aws_secretsmanager_secret" "manual" {
  # checkov:skip=CKV2_AWS_57:both ends of a Kafka or JWT secret have to change; docs/operations.md says how, no Lambda can
  for_each    = toset(concat(["kafka-sasl", "jwt-secret"], var.kafka_client_certificate ? ["kafka-client-certificate"] : []))
  name        = "${var.name}/${each.key}"
  description = "Filled by hand"
  kms_key_id  = aws_kms_key.main.arn
}

resource "aws_secretsmanager_secret" "database_url" {
  # checkov:skip=CKV2_AWS_57:rotated by var.database_password_version, together with the database
  name        = "${var.name}/database-url"
  description = "DATABASE_URL"
  kms_key_id  = aws_kms_key.main.arn
}

# Never in the state: each run generates a new one, which is written only if the version changes.
ephemeral "random_password" "database" {
  length  = 48
  special = false
}

resource "aws_secretsmanager_secret_version" "database_url" {
  secret_id                = aws_secretsmanager_secret.database_url.id
  secret_string_wo         = "postgres://app:${ephemeral.random_password.database.result}@${aws_rds_cluster.main.endpoint}/app?sslmode=verify-full"
  secret_string_wo_version = var.database_password_version
}

# What services of ours sign their calls with.
resource "aws_secretsmanager_secret" "internal_jwt" {
  # checkov:skip=CKV2_AWS_57:rotated by var.internal_secret_version, for all services together
  name        = "${var.name}/internal-jwt-secret"
  description = "INTERNAL_JWT_SECRET"
  kms_key_id  = aws_kms_key.main.arn
}

# Never in the state, as the password of the database.
ephemeral "random_password" "internal_jwt" {
  length  = 64
  special = false
}

resource "aws_secretsmanager_secret_version" "internal_jwt" {
  secret_id                = aws_secretsmanager_secret.internal_jwt.id
  secret_string_wo         = ephemeral.random_password.internal_jwt.result
  secret_string_wo_version = var.internal_secret_version
}

resource "aws_secretsmanager_secret" "redis_url" {
  # checkov:skip=CKV2_AWS_57:rotated by replacing random_password.redis, together with the cache
  name        = "${var.name}/redis-url"
  description = "REDIS_URL"
  kms_key_id  = aws_kms_key.main.arn
}

resource "aws_secretsmanager_secret_version" "redis_url" {
  secret_id     = aws_secretsmanager_secret.redis_url.id
  secret_string = "rediss://:${random_password.redis.result}@${local.cache_address}"
}

resource "aws_secretsmanager_secret" "ad_redis_url" {
  # checkov:skip=CKV2_AWS_57:rotated by replacing random_password.caps, together with the Redis
  name        = "${var.name}/ad-redis-url"
  description = "AD_REDIS_URL"
  kms_key_id  = aws_kms_key.main.arn
}

resource "aws_secretsmanager_secret_version" "ad_redis_url" {
  secret_id     = aws_secretsmanager_secret.ad_redis_url.id
  secret_string = "rediss://:${random_password.caps.result}@${local.caps_address}"
}
