variable "project" {
  description = "What the whole is named."
  type        = string
}

variable "name" {
  description = "What the service is named: api-service, worker-service."
  type        = string
}

variable "region" {
  description = "The AWS region."
  type        = string
}

variable "image" {
  description = "The image of the first revision; deploys register later ones."
  type        = string
}

variable "command" {
  description = "The arguments of the image's entry point."
  type        = list(string)
  default     = []
}

variable "health_command" {
  description = "Asks the container for its liveness."
  type        = list(string)
}

variable "cpu" {
  description = "In 1/1024 of a vCPU."
  type        = number
}

variable "memory" {
  description = "In MiB."
  type        = number
}

variable "stop_timeout" {
  description = "Seconds from SIGTERM to SIGKILL: more than the service takes to drain."
  type        = number
}

variable "environment" {
  description = "Settings that everybody may see."
  type        = map(string)
}

variable "secrets" {
  description = "Settings that nobody may see, as ARNs in Secrets Manager, or members of JSON secrets (ARN:MEMBER::)."
  type        = map(string)
}

variable "kms_key_arn" {
  description = "The key of the log and of the secrets."
  type        = string
}

variable "repository_arn" {
  description = "Where the image comes from."
  type        = string
}

variable "cluster" {
  description = "The ECS cluster."
  type        = object({ id = string, name = string })
}

variable "vpc_id" {
  description = "The VPC."
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets."
  type        = list(string)
}

variable "target_group_arn" {
  description = "The load balancer's target group; null for a service without one."
  type        = string
  default     = null
}

variable "port" {
  description = "The port that the target group asks; null without one."
  type        = number
  default     = null
}

variable "tasks" {
  description = "The least and the most tasks."
  type        = object({ min = number, max = number })
}

variable "kafka_ports" {
  description = "The ports of Kafka's brokers, first and last."
  type        = tuple([number, number])
}

variable "database_security_group_id" {
  description = "Where PostgreSQL is."
  type        = string
}

variable "cache_security_group_id" {
  description = "Where Redis is."
  type        = string
}

variable "log_retention_days" {
  description = "How long the log is kept."
  type        = number
}
