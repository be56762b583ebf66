# Inbound: nothing, unless the caller adds a rule. Outbound: Kafka, PostgreSQL, Redis, and HTTPS to AWS, the token
# issuer and the trace collector.

resource "aws_security_group" "this" {
  name        = "${var.project}-${var.name}"
  description = "The ${var.name}"
  vpc_id      = var.vpc_id
}

resource "aws_vpc_security_group_egress_rule" "https" {
  security_group_id = aws_security_group.this.id
  description       = "HTTPS"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_vpc_security_group_egress_rule" "kafka" {
  security_group_id = aws_security_group.this.id
  description       = "Kafka"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = var.kafka_ports[0]
  to_port           = var.kafka_ports[1]
}

resource "aws_vpc_security_group_egress_rule" "database" {
  security_group_id            = aws_security_group.this.id
  description                  = "PostgreSQL"
  referenced_security_group_id = var.database_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = 5432
  to_port                      = 5432
}

resource "aws_vpc_security_group_egress_rule" "cache" {
  security_group_id            = aws_security_group.this.id
  description                  = "Redis"
  referenced_security_group_id = var.cache_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = 6379
  to_port                      = 6379
}
