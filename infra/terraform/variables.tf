variable "name" {
  description = "What everything is named after."
  type        = string
  default     = "device-events"
}

variable "region" {
  description = "The AWS region."
  type        = string
}

variable "cidr" {
  description = "The VPC's addresses, a /16."
  type        = string
  default     = "10.20.0.0/16"
}

variable "zones" {
  description = "The availability zones, two or more, by name; each has a NAT gateway of its own. Add new ones at the end."
  type        = list(string)
}

variable "certificate_arn" {
  description = "The certificate, in ACM, of the name under which the API is reached."
  type        = string
}

variable "github_repository" {
  description = "Whose workflows may deploy, as owner/name."
  type        = string
}

variable "github_oidc_provider_arn" {
  description = "GitHub's OIDC provider, where the account has it already: there can be only one. Null makes it."
  type        = string
  default     = null
}

variable "bootstrap_image_tag" {
  description = "The tag that the first task definitions name. Deploys register newer ones, by digest."
  type        = string
  default     = "latest"
}

variable "kafka_brokers" {
  description = "Kafka's bootstrap servers, separated by commas."
  type        = string
}

variable "kafka_security_protocol" {
  description = "SASL_SSL for a login, SSL for a client certificate alone."
  type        = string
  default     = "SASL_SSL"

  validation {
    condition     = contains(["SASL_SSL", "SSL"], var.kafka_security_protocol)
    error_message = "kafka_security_protocol must be SASL_SSL or SSL."
  }
}

variable "kafka_sasl_mechanism" {
  description = "How to log in with SASL_SSL: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER. The secret kafka-sasl holds the user and the password, for OAUTHBEARER the client id and the client secret."
  type        = string
  default     = "PLAIN"
}

variable "kafka_token_endpoint_url" {
  description = "For OAUTHBEARER: the issuer's token endpoint (https, port 443: nothing else gets out). Further settings of it go into extra_environment."
  type        = string
  default     = null
}

variable "kafka_client_certificate" {
  description = "Whether the services show Kafka a client certificate. It and its private key are in the secret kafka-client-certificate, which is to be filled by hand before the next deploy."
  type        = bool
  default     = false
}

variable "kafka_ports" {
  description = "The ports of Kafka's brokers, first and last."
  type        = tuple([number, number])
  default     = [9092, 9092]
}

variable "topic_partitions" {
  description = "Partitions of the input topic: what setup makes, and the most workers that have anything to do. After partitions were added, this number is to follow."
  type        = number
  default     = 6
}

variable "jwt_jwks_url" {
  description = "Where the issuer publishes its keys. Null where JWT_SECRET or jwt_discovery is used."
  type        = string
  default     = null
}

variable "jwt_discovery" {
  description = "Whether the keys are those that the OpenID configuration of jwt_issuer, an https address, names; then there is no JWT_SECRET, and no jwt_jwks_url."
  type        = bool
  default     = false

  validation {
    condition     = !(var.jwt_discovery && var.jwt_jwks_url != null)
    error_message = "Set jwt_discovery or jwt_jwks_url, not both."
  }
}

variable "jwt_issuer" {
  description = "What tokens have to name as their issuer."
  type        = string
}

variable "jwt_audience" {
  description = "What tokens have to name as their audience; several are separated by commas."
  type        = string
}

variable "lag_target" {
  description = "How many records a worker may be behind before there is another one."
  type        = number
  default     = 20000
}

variable "requests_target" {
  description = "How many requests a minute an API task gets before there is another one."
  type        = number
  default     = 60000
}

variable "database_ca_file" {
  description = "A file with the certificate authorities of RDS in this region, as AWS publishes them (truststore, PEM)."
  type        = string
}

variable "database_capacity" {
  description = "Aurora's least and greatest capacity units."
  type        = tuple([number, number])
  default     = [1, 16]
}

variable "database_password_version" {
  description = "Add one to have a new password, in the database and in its secret; then restart both services (docs/operations.md)."
  type        = number
  default     = 1
}

variable "internal_secret_version" {
  description = "Add one to have a new secret for calls between services; then restart placement-service and validation-service (docs/operations.md)."
  type        = number
  default     = 1
}

variable "private_zone" {
  description = "The private DNS zone in which services call each other: no name in it may be looked up outside of the VPC."
  type        = string
  default     = "nedlia.local"
}

variable "cache_node_type" {
  description = "ElastiCache's node type."
  type        = string
  default     = "cache.t4g.small"
}

variable "caps_node_type" {
  description = "ElastiCache's node type for the frequency caps, whose memory has to hold two days of them (docs/operations.md, Scale)."
  type        = string
  default     = "cache.t4g.small"
}

variable "cache_shards" {
  description = "Shards of a Redis Cluster, each of a primary and a replica, for the cache and for the frequency caps; null for one primary and a replica without a cluster. A change between null and a number replaces both, which begin empty (docs/operations.md, Scale)."
  type        = number
  default     = null

  validation {
    condition     = var.cache_shards == null ? true : var.cache_shards >= 1 && floor(var.cache_shards) == var.cache_shards
    error_message = "cache_shards must be null or a whole number from 1."
  }
}

variable "extra_environment" {
  description = "Further settings of both services, of the setup and of operators' tasks, such as OTEL_EXPORTER_OTLP_ENDPOINT (https, port 443: nothing else gets out). They count before those that are set here."
  type        = map(string)
  default     = {}
}

variable "extra_secrets" {
  description = "Further settings that nobody may see, such as OTEL_EXPORTER_OTLP_HEADERS, as ARNs in Secrets Manager."
  type        = map(string)
  default     = {}
}

variable "api_database_url_secret_arn" {
  description = "A secret with the API's own DATABASE_URL, of a role that may read and nothing else (docs/operations.md, A role for the API). Null is the worker's."
  type        = string
  default     = null
}

variable "scraper_security_group_id" {
  description = "Who may read /metrics and the health of both services, on port 9100: the security group of a Prometheus in this VPC. Null is nobody; the alarms of alarms.tf need nobody."
  type        = string
  default     = null
}

variable "alarm_emails" {
  description = "Who is told of alarms; each has to confirm a mail. Other ways subscribe to the topic by themselves."
  type        = list(string)
  default     = []
}

variable "log_retention_days" {
  description = "How long logs are kept."
  type        = number
  default     = 365
}
