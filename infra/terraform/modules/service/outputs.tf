output "service_name" {
  description = "The ECS service."
  value       = aws_ecs_service.this.name
}

output "service_arn" {
  description = "The ECS service, for rights."
  value       = aws_ecs_service.this.id
}

output "family" {
  description = "The task definition, without its revision."
  value       = aws_ecs_task_definition.this.family
}

output "container" {
  description = "The container's definition, for a one-off task of the same image."
  value       = local.container
}

output "role_arns" {
  description = "What a deploy has to hand over to ECS."
  value       = { task = aws_iam_role.task.arn, execution = aws_iam_role.execution.arn }
}

output "task_role_name" {
  description = "The role of the service itself, for rights."
  value       = aws_iam_role.task.name
}

output "security_group_id" {
  description = "The security group of the tasks."
  value       = aws_security_group.this.id
}

output "scaling" {
  description = "What a scaling policy refers to."
  value = {
    service_namespace  = aws_appautoscaling_target.this.service_namespace
    resource_id        = aws_appautoscaling_target.this.resource_id
    scalable_dimension = aws_appautoscaling_target.this.scalable_dimension
  }
}

output "log_group_name" {
  description = "Where the service's log goes."
  value       = aws_cloudwatch_log_group.this.name
}
