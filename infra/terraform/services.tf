# The ECS services: one list, with one module instance per entry. There are only two images; a setting selects the
# part of its image that a service serves. To scale and deploy a domain separately, add an entry.

locals {
  # Shared by all services. The worker's code sets the dimension `Service` and the names of the metrics
  # (docs/adr/0014-lag-for-scaling.md); the namespace is set only here.
  emf_namespace = "DeviceEvents"
  kafka = merge({
    KAFKA_BROKERS           = var.kafka_brokers
    KAFKA_SECURITY_PROTOCOL = var.kafka_security_protocol
    }, var.kafka_security_protocol == "SSL" ? {} : {
    KAFKA_SASL_MECHANISM = var.kafka_sasl_mechanism
    }, var.kafka_token_endpoint_url == null ? {} : {
    KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL = var.kafka_token_endpoint_url
  })
  # The certificates themselves, because the image has no file with the CAs of RDS.
  postgres = { PGSSLROOTCERT = trimspace(file(var.database_ca_file)) }

  # The settings of Kafka's login and client certificate, each with its member of a JSON secret: ARN:MEMBER:STAGE:VERSION.
  kafka_login = {
    PLAIN = { KAFKA_SASL_USERNAME = "username", KAFKA_SASL_PASSWORD = "password" }
    OAUTHBEARER = {
      KAFKA_SASL_OAUTHBEARER_CLIENT_ID     = "username"
      KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET = "password"
    }
  }
  kafka_secrets = merge(
    var.kafka_security_protocol == "SSL" ? {} : {
      for name, member in local.kafka_login[var.kafka_sasl_mechanism == "OAUTHBEARER" ? "OAUTHBEARER" : "PLAIN"] :
      name => "${aws_secretsmanager_secret.manual["kafka-sasl"].arn}:${member}::"
    },
    var.kafka_client_certificate ? {
      for name, member in { KAFKA_SSL_CERTIFICATE_PEM = "certificate", KAFKA_SSL_KEY_PEM = "key" } :
      name => "${aws_secretsmanager_secret.manual["kafka-client-certificate"].arn}:${member}::"
    } : {},
  )
  caps            = { AD_REDIS_URL = aws_secretsmanager_secret.ad_redis_url.arn }
  internal_secret = { INTERNAL_JWT_SECRET = aws_secretsmanager_secret.internal_jwt.arn }
  secrets = merge({
    DATABASE_URL = aws_secretsmanager_secret.database_url.arn
    REDIS_URL    = aws_secretsmanager_secret.redis_url.arn
  }, local.kafka_secrets, var.extra_secrets)
  # Without a secret and a JWKS the API reads the OpenID configuration of its issuer.
  jwt_secret   = var.jwt_jwks_url == null && !var.jwt_discovery ? { JWT_SECRET = aws_secretsmanager_secret.manual["jwt-secret"].arn } : {}
  api_database = var.api_database_url_secret_arn == null ? {} : { DATABASE_URL = var.api_database_url_secret_arn }
  jwks         = var.jwt_jwks_url == null ? {} : { JWT_JWKS_URL = var.jwt_jwks_url }

  # The values that all services of an image share.
  images = {
    api = {
      command        = []
      health_command = ["api-service", "health"]
      port           = 8000
      # DRAIN_DELAY, 15 s drain, 5 s the last flush, 1 s PostgreSQL, 3 s the last traces, 1 s the log: 45 s, and a reserve
      # (docs/operations.md, Shutdown).
      stop_timeout = 60
      environment = merge(local.jwks, {
        JWT_ISSUER   = var.jwt_issuer
        JWT_AUDIENCE = var.jwt_audience
        # Longer than the 15 s in which the target group finds a task unready (alb.tf).
        DRAIN_DELAY = "20s"
      })
      secrets = merge(local.secrets, local.jwt_secret)
    }
    worker = {
      command        = ["run"]
      health_command = ["worker-service", "health"]
      port           = null
      # The worker exits within 21 s (docs/operations.md, Shutdown).
      stop_timeout = 40
      environment = {
        EMF_NAMESPACE = local.emf_namespace
        EMF_INTERVAL  = "60s"
      }
      secrets = local.secrets
    }
  }

  # The API services by name. `domains` is API_DOMAINS, empty for all. `balancer` is `public` or `internal`
  # (internal_alb.tf). `paths` are the paths that it routes there (five patterns at most), empty for all paths without
  # another service. `secrets` are its own: an API that serves advertising or placements writes, so it cannot have the
  # role that only reads. `scaling` is the CPU in per cent, and the seconds before another task is added or removed.
  api_services = {
    api-service = {
      domains = "devices", balancer = "public", paths = [], secrets = local.api_database, environment = {}
      cpu     = 1024, memory = 2048, tasks = { min = 2, max = 10 }, scaling = { cpu = 60, out = 30, in = 300 }
    }
    ad-service = {
      domains     = "ads", balancer = "public", paths = ["/campaigns*", "/ad-events*", "/events/", "/report/*"]
      secrets     = local.caps
      environment = {}
      cpu         = 1024, memory = 2048, tasks = { min = 2, max = 10 }, scaling = { cpu = 60, out = 30, in = 300 }
    }
    placement-service = {
      domains     = "placements", balancer = "public", paths = ["/videos*", "/placements*", "/products*", "/validations/*"]
      secrets     = local.internal_secret
      environment = merge(local.files, { VALIDATION_URL = "http://${local.internal_name}" })
      cpu         = 512, memory = 1024, tasks = { min = 2, max = 10 }, scaling = { cpu = 70, out = 60, in = 300 }
    }
    validation-service = {
      domains     = "validation", balancer = "internal", paths = ["/validation/*"], secrets = local.internal_secret
      environment = {}
      cpu         = 512, memory = 1024, tasks = { min = 1, max = 5 }, scaling = { cpu = 70, out = 60, in = 300 }
    }
  }
  # Those that call services behind the internal load balancer.
  internal_callers = toset(["placement-service"])

  # The worker services. `only` is WORKER_ONLY: what no service names runs nowhere, and no group may be in two.
  # `groups` are the consumer groups of its handlers (the defaults of their settings): the service scales by the lag of
  # each, and each has alarms (alarms.tf). `background` are the tasks that it runs beside them, which have alarms too.
  # More ECS tasks than partitions would be idle.
  worker_services = {
    worker-service = {
      only        = "devices,ads,devices-expire,ads-settle,ads-expire", groups = ["events-processor", "ads-processor"]
      background  = ["devices-expire", "ads-settle", "ads-expire"]
      secrets     = local.caps
      environment = {}
      cpu         = 512, memory = 1024
      tasks       = { min = min(2, var.topic_partitions), max = var.topic_partitions }
    }
    placement-worker = {
      only        = "outbox-relay,read-model,files,validator,inbox-expire,keys-expire,files-expire,validations-end,validations-expire"
      groups      = ["placement-read-model", "placement-files", "placement-validator"]
      background  = ["outbox-relay", "inbox-expire", "keys-expire", "files-expire", "validations-end", "validations-expire"]
      secrets     = {}
      environment = local.files
      cpu         = 512, memory = 1024
      tasks       = { min = min(2, var.topic_partitions), max = min(10, var.topic_partitions) }
    }
  }

  services = merge(
    { for name, service in local.api_services : name => {
      image       = "api", cpu = service.cpu, memory = service.memory, tasks = service.tasks, secrets = service.secrets
      environment = merge(service.environment, service.domains == "" ? {} : { API_DOMAINS = service.domains })
    } },
    { for name, service in local.worker_services : name => {
      image       = "worker", cpu = service.cpu, memory = service.memory, tasks = service.tasks, secrets = service.secrets
      environment = merge(service.environment, service.only == "" ? {} : { WORKER_ONLY = service.only })
    } },
  )

  service_security_groups = { for name, service in module.service : name => service.security_group_id }
}

module "service" {
  source   = "./modules/service"
  for_each = local.services

  project        = var.name
  name           = each.key
  region         = var.region
  image          = "${aws_ecr_repository.service[each.value.image].repository_url}:${var.bootstrap_image_tag}"
  repository_arn = aws_ecr_repository.service[each.value.image].arn
  command        = local.images[each.value.image].command
  health_command = local.images[each.value.image].health_command
  cpu            = each.value.cpu
  memory         = each.value.memory
  stop_timeout   = local.images[each.value.image].stop_timeout
  tasks          = each.value.tasks

  environment = merge(local.kafka, local.postgres, local.cache_environment, local.images[each.value.image].environment, each.value.environment, var.extra_environment)
  secrets     = merge(local.images[each.value.image].secrets, each.value.secrets)

  port = local.images[each.value.image].port
  # Through the listener, because ECS refuses a target group that no load balancer uses yet.
  target_group_arn = lookup(local.listened_target_groups, each.key, null)

  cluster                    = { id = aws_ecs_cluster.main.id, name = aws_ecs_cluster.main.name }
  vpc_id                     = aws_vpc.main.id
  subnet_ids                 = aws_subnet.private[*].id
  kms_key_arn                = aws_kms_key.main.arn
  kafka_ports                = var.kafka_ports
  database_security_group_id = aws_security_group.database.id
  cache_security_group_id    = aws_security_group.cache.id
  log_retention_days         = var.log_retention_days

  depends_on = [aws_ecs_cluster_capacity_providers.main]
}

resource "aws_vpc_security_group_ingress_rule" "api" {
  for_each                     = local.api_services
  security_group_id            = module.service[each.key].security_group_id
  description                  = "From the load balancer"
  referenced_security_group_id = local.balancers[each.value.balancer].security_group_id
  ip_protocol                  = "tcp"
  from_port                    = 8000
  to_port                      = 8000
}

# For your own Prometheus, if there is one.
resource "aws_vpc_security_group_ingress_rule" "scraper" {
  for_each                     = var.scraper_security_group_id == null ? {} : local.services
  security_group_id            = module.service[each.key].security_group_id
  description                  = "From Prometheus"
  referenced_security_group_id = var.scraper_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = 9100
  to_port                      = 9100
}

# `worker-service setup`: creates the schema and the topics before each deployment. It runs once, in the worker's
# network, with the worker's rights and log.
resource "aws_ecs_task_definition" "setup" {
  family                   = "${var.name}-setup"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = 256
  memory                   = 512
  execution_role_arn       = module.service["worker-service"].role_arns.execution
  task_role_arn            = module.service["worker-service"].role_arns.task

  container_definitions = jsonencode([merge(module.service["worker-service"].container, {
    name    = "setup"
    command = ["setup"]
    environment = [for name, value in merge(local.kafka, local.postgres, { TOPIC_PARTITIONS = tostring(var.topic_partitions) }, var.extra_environment) :
    { name = name, value = value }]
    healthCheck = null
    stopTimeout = 120
  })])

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = "X86_64"
  }
}
