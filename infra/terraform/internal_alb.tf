# Calls between services: an internal load balancer, under a name in a private zone. A service has a path of its own
# there. HTTP, as from the public load balancer to the tasks: it does not leave the VPC, and a call's token is good for a
# minute, and for nothing else.

locals {
  internal_name = "internal-alb.${var.private_zone}"
}

resource "aws_lb" "internal" {
  # checkov:skip=CKV2_AWS_20:there is no HTTPS to redirect to; see above
  # checkov:skip=CKV2_AWS_28:only our own services reach it
  name                       = "${var.name}-internal"
  load_balancer_type         = "application"
  internal                   = true
  subnets                    = aws_subnet.private[*].id
  security_groups            = [aws_security_group.internal_alb.id]
  drop_invalid_header_fields = true
  enable_deletion_protection = true
  # More than callers keep an idle connection (20 s), and less than the API's KEEP_ALIVE_TIMEOUT.
  idle_timeout = 60

  access_logs {
    bucket  = aws_s3_bucket.access_log.id
    prefix  = "internal"
    enabled = true
  }

  # On creation it writes a test object to the bucket.
  depends_on = [aws_s3_bucket_policy.access_log]
}

resource "aws_lb_listener" "internal" {
  # checkov:skip=CKV_AWS_2:see above
  # checkov:skip=CKV_AWS_103:see above
  load_balancer_arn = aws_lb.internal.arn
  port              = 80
  protocol          = "HTTP"

  # The paths of services are rules (alb.tf).
  default_action {
    type = "fixed-response"
    fixed_response {
      content_type = "text/plain"
      message_body = "no service has this path"
      status_code  = "404"
    }
  }
}

resource "aws_security_group" "internal_alb" {
  name        = "${var.name}-internal-alb"
  description = "The internal load balancer"
  vpc_id      = aws_vpc.main.id
}

resource "aws_vpc_security_group_ingress_rule" "internal_alb" {
  # checkov:skip=CKV_AWS_260:from a security group, and from no address
  for_each                     = local.internal_callers
  security_group_id            = aws_security_group.internal_alb.id
  description                  = "From ${each.key}"
  referenced_security_group_id = module.service[each.key].security_group_id
  ip_protocol                  = "tcp"
  from_port                    = 80
  to_port                      = 80
}

resource "aws_vpc_security_group_egress_rule" "internal_caller" {
  for_each                     = local.internal_callers
  security_group_id            = module.service[each.key].security_group_id
  description                  = "To the internal load balancer"
  referenced_security_group_id = aws_security_group.internal_alb.id
  ip_protocol                  = "tcp"
  from_port                    = 80
  to_port                      = 80
}

resource "aws_route53_zone" "private" {
  # checkov:skip=CKV2_AWS_38:a private zone cannot be signed
  # checkov:skip=CKV2_AWS_39:one name, which only our services look up
  name    = var.private_zone
  comment = "Services that call each other"

  vpc {
    vpc_id = aws_vpc.main.id
  }
}

resource "aws_route53_record" "internal_alb" {
  zone_id = aws_route53_zone.private.zone_id
  name    = local.internal_name
  type    = "A"

  alias {
    name                   = aws_lb.internal.dns_name
    zone_id                = aws_lb.internal.zone_id
    evaluate_target_health = false
  }
}
