# HTTPS from the internet, HTTP to the API's tasks.

resource "aws_lb" "api" {
  # checkov:skip=CKV2_AWS_28:devices come with a token, and rate and size of what they send are limited by the API; a firewall that reads bodies would double each event's latency
  name                       = var.name
  load_balancer_type         = "application"
  internal                   = false
  subnets                    = aws_subnet.public[*].id
  security_groups            = [aws_security_group.alb.id]
  drop_invalid_header_fields = true
  enable_deletion_protection = true
  # Less than the API's KEEP_ALIVE_TIMEOUT of 75 s: the load balancer must close first.
  idle_timeout = 60

  access_logs {
    bucket  = aws_s3_bucket.access_log.id
    enabled = true
  }

  # On creation it writes a test object to the bucket.
  depends_on = [aws_s3_bucket_policy.access_log]
}

resource "aws_lb_listener" "https" {
  load_balancer_arn = aws_lb.api.arn
  port              = 443
  protocol          = "HTTPS"
  ssl_policy        = "ELBSecurityPolicy-TLS13-1-2-2021-06"
  certificate_arn   = var.certificate_arn

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.api["api-service"].arn
  }
}

# The API services that serve only some paths.
resource "aws_lb_listener_rule" "api" {
  for_each     = { for name, service in local.api_services : name => service if length(service.paths) > 0 }
  listener_arn = local.balancers[each.value.balancer].listener_arn

  action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.api[each.key].arn
  }

  condition {
    path_pattern {
      values = each.value.paths
    }
  }
}

locals {
  balancers = {
    public = {
      arn_suffix        = aws_lb.api.arn_suffix
      listener_arn      = aws_lb_listener.https.arn
      security_group_id = aws_security_group.alb.id
    }
    internal = {
      arn_suffix        = aws_lb.internal.arn_suffix
      listener_arn      = aws_lb_listener.internal.arn
      security_group_id = aws_security_group.internal_alb.id
    }
  }
  # The target group of each service, once the listener uses it.
  listened_target_groups = merge(
    { api-service = aws_lb_listener.https.default_action[0].target_group_arn },
    { for name, rule in aws_lb_listener_rule.api : name => rule.action[0].target_group_arn },
  )
}

resource "aws_lb_listener" "http" {
  load_balancer_arn = aws_lb.api.arn
  port              = 80
  protocol          = "HTTP"

  default_action {
    type = "redirect"
    redirect {
      port        = "443"
      protocol    = "HTTPS"
      status_code = "HTTP_301"
    }
  }
}

resource "aws_lb_target_group" "api" {
  for_each = local.api_services
  # checkov:skip=CKV_AWS_378:TLS ends at the load balancer; behind it is a private subnet, and only the load balancer may reach the port
  # 32 characters at most.
  name        = trimsuffix(substr("${var.name}-${each.key}", 0, 32), "-")
  vpc_id      = aws_vpc.main.id
  target_type = "ip"
  port        = 8000
  protocol    = "HTTP"
  # ECS deregisters a task, waits this long, and only then sends SIGTERM. A request may take REQUEST_TIMEOUT,
  # 10 s, from the end of its body; the rest is for slow bodies, and for the change to reach every node of the load balancer.
  deregistration_delay          = 20
  load_balancing_algorithm_type = "least_outstanding_requests"

  # A task on Spot gets SIGTERM at once: it must keep serving until the health check has found it unready, after
  # three times five seconds. Its DRAIN_DELAY (services.tf) is longer than that.
  health_check {
    path                = "/health/ready"
    matcher             = "200"
    interval            = 5
    timeout             = 3
    healthy_threshold   = 2
    unhealthy_threshold = 3
  }

  # A listener uses it: its successor has to be there first.
  lifecycle {
    create_before_destroy = true
  }
}

# Before there could be several API services.
moved {
  from = aws_lb_target_group.api
  to   = aws_lb_target_group.api["api-service"]
}

resource "aws_security_group" "alb" {
  name        = "${var.name}-alb"
  description = "The load balancer"
  vpc_id      = aws_vpc.main.id
}

resource "aws_vpc_security_group_ingress_rule" "alb" {
  # checkov:skip=CKV_AWS_260:port 80 answers with a redirect to HTTPS, nothing else
  for_each          = toset(["80", "443"])
  security_group_id = aws_security_group.alb.id
  description       = "From everywhere"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = tonumber(each.key)
  to_port           = tonumber(each.key)
}

resource "aws_vpc_security_group_egress_rule" "alb" {
  for_each                     = local.api_services
  security_group_id            = local.balancers[each.value.balancer].security_group_id
  description                  = "To ${each.key}"
  referenced_security_group_id = module.service[each.key].security_group_id
  ip_protocol                  = "tcp"
  from_port                    = 8000
  to_port                      = 8000
}
