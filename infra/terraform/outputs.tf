output "github_variables" {
  description = "The variables of the environment `production`: `gh variable set NAME --env production --body VALUE`."
  value = {
    AWS_REGION            = var.region
    AWS_ROLE_ARN          = aws_iam_role.deploy.arn
    ECR_REGISTRY          = split("/", aws_ecr_repository.service["api"].repository_url)[0]
    ECR_REPOSITORY_API    = aws_ecr_repository.service["api"].name
    ECR_REPOSITORY_WORKER = aws_ecr_repository.service["worker"].name
    ECS_CLUSTER           = aws_ecs_cluster.main.name
    # All services of an image, separated by blanks; a deploy updates each.
    ECS_SERVICES_API    = join(" ", [for name in keys(local.api_services) : module.service[name].service_name])
    ECS_SERVICES_WORKER = join(" ", [for name in keys(local.worker_services) : module.service[name].service_name])
    # `setup` runs in this service's network.
    ECS_SERVICE_SETUP         = module.service["worker-service"].service_name
    ECS_TASK_DEFINITION_SETUP = aws_ecs_task_definition.setup.family
  }
}

output "alarms" {
  description = "The topic that alarms are sent to."
  value       = aws_sns_topic.alarms.arn
}

output "access_log" {
  description = "The bucket with the load balancer's access log."
  value       = aws_s3_bucket.access_log.id
}

output "files" {
  description = "The bucket with the files of videos."
  value       = aws_s3_bucket.files.id
}

output "load_balancer" {
  description = "What the name of the certificate has to point to."
  value       = aws_lb.api.dns_name
}
