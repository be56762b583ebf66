# The API scales by the highest demand of its policies, the worker by its lag.

resource "aws_appautoscaling_policy" "api" {
  for_each = merge([for name, service in local.api_services : {
    for policy, by in {
      cpu      = { metric = "ECSServiceAverageCPUUtilization", target = service.scaling.cpu }
      memory   = { metric = "ECSServiceAverageMemoryUtilization", target = 75 }
      requests = { metric = "ALBRequestCountPerTarget", target = var.requests_target }
    } : "${name}/${policy}" => merge(by, { service = name, name = policy, balancer = service.balancer, scaling = service.scaling })
  }]...)
  name               = each.value.name
  policy_type        = "TargetTrackingScaling"
  service_namespace  = module.service[each.value.service].scaling.service_namespace
  resource_id        = module.service[each.value.service].scaling.resource_id
  scalable_dimension = module.service[each.value.service].scaling.scalable_dimension

  target_tracking_scaling_policy_configuration {
    target_value       = each.value.target
    scale_out_cooldown = each.value.scaling.out
    scale_in_cooldown  = each.value.scaling.in

    predefined_metric_specification {
      predefined_metric_type = each.value.metric
      resource_label         = each.value.name == "requests" ? "${local.balancers[each.value.balancer].arn_suffix}/${aws_lb_target_group.api[each.value.service].arn_suffix}" : null
    }
  }
}

# Every worker writes one document per minute and group: the sum of ConsumerLag is the lag of the whole topic, and
# the sample count of Waiting is the number of workers. ECS follows the policy that demands the most tasks. While
# any worker waits out an outage, the lag grows and more workers would not help; the metric then equals its target,
# so that nothing scales in either direction.
resource "aws_appautoscaling_policy" "worker" {
  # The policy of a service's first group has the service's name as its key, and `lag` as its own.
  for_each = merge([for name, service in local.worker_services : {
    for group in service.groups : (group == service.groups[0] ? name : "${name}/${group}") =>
    { service = name, group = group, name = group == service.groups[0] ? "lag" : "lag-${group}" }
  }]...)
  name               = each.value.name
  policy_type        = "TargetTrackingScaling"
  service_namespace  = module.service[each.value.service].scaling.service_namespace
  resource_id        = module.service[each.value.service].scaling.resource_id
  scalable_dimension = module.service[each.value.service].scaling.scalable_dimension

  target_tracking_scaling_policy_configuration {
    target_value = var.lag_target
    # Not too often, because each new worker causes a rebalance of the group.
    scale_out_cooldown = 120
    scale_in_cooldown  = 600

    customized_metric_specification {
      metrics {
        id          = "lag_per_worker"
        label       = "Lag of a worker, or the target while one waits out an outage"
        expression  = "IF(waiting > 0, ${var.lag_target}, lag / workers)"
        return_data = true
      }

      dynamic "metrics" {
        for_each = {
          lag     = { metric = "ConsumerLag", stat = "Sum" }
          waiting = { metric = "Waiting", stat = "Maximum" }
          workers = { metric = "Waiting", stat = "SampleCount" }
        }
        content {
          id          = metrics.key
          return_data = false

          metric_stat {
            stat = metrics.value.stat

            metric {
              namespace   = local.emf_namespace
              metric_name = metrics.value.metric

              dimensions {
                name  = "Service"
                value = "worker-service"
              }
              dimensions {
                name  = "Group"
                value = each.value.group
              }
            }
          }
        }
      }
    }
  }
}
