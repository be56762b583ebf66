# Alarms on CloudWatch metrics. With a Prometheus, the rules in observe/prometheus cover more. Each alarm has
# the name of the equivalent rule, and of its section in docs/operations.md.

resource "aws_sns_topic" "alarms" {
  name              = "${var.name}-alarms"
  kms_master_key_id = aws_kms_key.main.id
}

resource "aws_sns_topic_subscription" "email" {
  for_each  = toset(var.alarm_emails)
  topic_arn = aws_sns_topic.alarms.arn
  protocol  = "email"
  endpoint  = each.key
}

# The worker's alarms, from its embedded metrics: each worker writes one document per group, task and minute, all at
# the same second. A worker that waits out an outage lags and may have no partition: only OutageIsWaitedOut reports it.
locals {
  worker_groups = distinct(flatten([for service in local.worker_services : service.groups]))
  # One set per group. For the first group of `worker-service` the name is the alarm's; the others begin with the group.
  group_alarms = merge([for group in local.worker_groups : {
    for name, alarm in local.worker_alarms :
    (group == local.worker_services["worker-service"].groups[0] ? name : "${group}-${name}") =>
    merge(alarm, { section = name, group = group })
  }]...)

  worker_alarms = {
    OutageIsWaitedOut = {
      expression  = "waiting"
      comparison  = "GreaterThanThreshold"
      threshold   = 0
      minutes     = 5
      missing     = "notBreaching"
      description = "A worker waits out an outage."
    }
    ConsumerLags = {
      expression  = "IF(waiting > 0, 0, age)"
      comparison  = "GreaterThanThreshold"
      threshold   = 300
      minutes     = 5
      missing     = "notBreaching"
      description = "A partition's first event has waited for over five minutes."
    }
    PartitionIsPaused = {
      expression  = "paused"
      comparison  = "GreaterThanThreshold"
      threshold   = 0
      minutes     = 2
      missing     = "notBreaching"
      description = "A partition is paused because of many dead letters, until an operator resumes it."
    }
    # Without any worker there is no document, which is the same problem, only worse.
    PartitionsHaveNoOwner = {
      expression  = "IF(waiting > 0, ${var.topic_partitions}, assigned)"
      comparison  = "LessThanThreshold"
      threshold   = var.topic_partitions
      minutes     = 5
      missing     = "breaching"
      description = "Nobody consumes some partitions, or all of them."
    }
    TransactionIsOpen = {
      expression  = "unstable"
      comparison  = "GreaterThanThreshold"
      threshold   = 120
      minutes     = 1
      missing     = "notBreaching"
      description = "A producer's open transaction has held up a partition for over two minutes."
    }
    PartitionStandsStill = {
      expression  = "stalled"
      comparison  = "GreaterThanThreshold"
      threshold   = 0
      minutes     = 2
      missing     = "notBreaching"
      description = "A partition has records and makes no progress with them, for no known reason."
    }
    PartitionCannotBeRead = {
      expression  = "unreadable"
      comparison  = "GreaterThanThreshold"
      threshold   = 0
      minutes     = 2
      missing     = "notBreaching"
      description = "A partition stands before records that cannot be read, until an operator skips them."
    }
    DeadLetters = {
      expression  = "buried"
      comparison  = "GreaterThanThreshold"
      threshold   = 0
      minutes     = 1
      missing     = "notBreaching"
      description = "Events became dead letters."
    }
    HeldAlone = {
      expression  = "alone + letters"
      comparison  = "GreaterThanThreshold"
      threshold   = 0
      minutes     = 1
      missing     = "notBreaching"
      description = "Only events of single devices meet errors that would be an outage of PostgreSQL."
    }
    RecordsLost = {
      expression  = "lost"
      comparison  = "GreaterThanThreshold"
      threshold   = 0
      minutes     = 1
      missing     = "notBreaching"
      description = "Records were gone from Kafka before they were consumed."
    }
    LogLinesDropped = {
      expression  = "dropped"
      comparison  = "GreaterThanThreshold"
      threshold   = 0
      minutes     = 1
      missing     = "notBreaching"
      description = "A worker dropped lines of its log: it is not read in time."
    }
  }

  # The alarms of the tasks that run beside the handlers. Where a service runs handlers too, the alarms of its groups
  # include the one about its log.
  worker_tasks = distinct(flatten([for service in local.worker_services : service.background]))
  tasks_alone  = distinct(flatten([for service in local.worker_services : service.background if length(service.groups) == 0]))
  named_task_alarms = merge(flatten([for name, alarm in local.task_alarms : [
    for task in(name == "LogLinesDropped" ? local.tasks_alone : local.worker_tasks) :
    { "${task}-${name}" = merge(alarm, { section = name, task = task }) }
  ]])...)

  task_alarms = {
    # Without any worker there is no document, which is the same problem.
    TaskDoesNotRun = {
      expression  = "running"
      comparison  = "LessThanThreshold"
      threshold   = 1
      minutes     = 5
      missing     = "breaching"
      description = "No worker runs a task."
    }
    LogLinesDropped = {
      expression  = "dropped"
      comparison  = "GreaterThanThreshold"
      threshold   = 0
      minutes     = 1
      missing     = "notBreaching"
      description = "A worker that runs only tasks dropped lines of its log: it is not read in time."
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "worker" {
  for_each            = local.group_alarms
  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = "${each.value.description} Group ${each.value.group}. See docs/operations.md, ${each.value.section}."
  comparison_operator = each.value.comparison
  threshold           = each.value.threshold
  evaluation_periods  = each.value.minutes
  treat_missing_data  = each.value.missing
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]

  metric_query {
    id          = "told"
    label       = each.key
    expression  = each.value.expression
    return_data = true
  }

  dynamic "metric_query" {
    # Only the metrics in the expression: an alarm must not list unused ones.
    for_each = { for id, metric in {
      waiting    = { name = "Waiting", stat = "Maximum" }
      age        = { name = "WatermarkAge", stat = "Maximum" }
      paused     = { name = "PausedPartitions", stat = "Sum" }
      assigned   = { name = "AssignedPartitions", stat = "Sum" }
      unstable   = { name = "UnstableAge", stat = "Maximum" }
      stalled    = { name = "StalledPartitions", stat = "Sum" }
      unreadable = { name = "UnreadablePartitions", stat = "Sum" }
      buried     = { name = "DeadLetters", stat = "Sum" }
      alone      = { name = "HeldAloneKeys", stat = "Sum" }
      letters    = { name = "UnknownErrorLetters", stat = "Sum" }
      lost       = { name = "RecordsLost", stat = "Sum" }
      dropped    = { name = "LogLinesDropped", stat = "Sum" }
    } : id => metric if strcontains(each.value.expression, id) }

    content {
      id = metric_query.key

      metric {
        namespace   = local.emf_namespace
        metric_name = metric_query.value.name
        stat        = metric_query.value.stat
        period      = 60
        dimensions  = { Service = "worker-service", Group = each.value.group }
      }
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "task" {
  for_each            = local.named_task_alarms
  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = "${each.value.description} Task ${each.value.task}. See docs/operations.md, ${each.value.section}."
  comparison_operator = each.value.comparison
  threshold           = each.value.threshold
  evaluation_periods  = each.value.minutes
  treat_missing_data  = each.value.missing
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]

  metric_query {
    id          = "told"
    label       = each.key
    expression  = each.value.expression
    return_data = true
  }

  dynamic "metric_query" {
    for_each = { for id, metric in {
      # One worker that runs it is enough.
      running = { name = "TaskRunning", stat = "Maximum" }
      dropped = { name = "LogLinesDropped", stat = "Sum" }
    } : id => metric if strcontains(each.value.expression, id) }

    content {
      id = metric_query.key

      metric {
        namespace   = local.emf_namespace
        metric_name = metric_query.value.name
        stat        = metric_query.value.stat
        period      = 60
        dimensions  = { Service = "worker-service", Task = each.value.task }
      }
    }
  }
}

# The API has no embedded metrics: its log reports dropped lines once it is read again. One metric for all API services.
resource "aws_cloudwatch_log_metric_filter" "api_log_lines_dropped" {
  for_each       = local.api_services
  name           = "${var.name}-${each.key == "api-service" ? "api" : each.key}-log-lines-dropped"
  log_group_name = module.service[each.key].log_group_name
  pattern        = "{ $.message = \"log lines were dropped: nobody read the log in time\" }"

  metric_transformation {
    namespace = local.emf_namespace
    name      = "ApiLogLinesDropped"
    value     = "$.dropped"
    unit      = "Count"
  }
}

moved {
  from = aws_cloudwatch_log_metric_filter.api_log_lines_dropped
  to   = aws_cloudwatch_log_metric_filter.api_log_lines_dropped["api-service"]
}

resource "aws_cloudwatch_metric_alarm" "api_log" {
  alarm_name          = "${var.name}-ApiLogLinesDropped"
  alarm_description   = "An API dropped lines of its log: it is not read in time. See docs/operations.md, LogLinesDropped."
  namespace           = local.emf_namespace
  metric_name         = aws_cloudwatch_log_metric_filter.api_log_lines_dropped["api-service"].metric_transformation[0].name
  statistic           = "Sum"
  period              = 60
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
}

# Advertising: what the worker's log says of money, and the memory for frequency caps.
locals {
  # The services that close leases.
  settling = { for name, service in local.worker_services : name => service if contains(service.background, "ads-settle") }
  money_alarms = {
    AdsBudgetViolated = {
      message     = "the books of campaigns break an invariant"
      description = "A budget may be overspent, which must never happen."
    }
    AdsBooksUnchecked = {
      message     = "the books of a campaign cannot be checked"
      description = "Whether a campaign's budget is overspent is not known."
    }
    AdsLeasesStay = {
      message     = "a lease is open for long after its end"
      description = "Leases are not closed after their end: what they reserve cannot be spent."
    }
  }
  named_money_filters = merge([for name, alarm in local.money_alarms : {
    for service in keys(local.settling) : "${service}-${name}" => { name = name, message = alarm.message, service = service }
  }]...)
}

resource "aws_cloudwatch_log_metric_filter" "money" {
  for_each       = local.named_money_filters
  name           = "${var.name}-${each.key}"
  log_group_name = module.service[each.value.service].log_group_name
  pattern        = "{ $.message = \"${each.value.message}\" }"

  metric_transformation {
    namespace = local.emf_namespace
    name      = each.value.name
    value     = "1"
    unit      = "Count"
  }
}

resource "aws_cloudwatch_metric_alarm" "money" {
  for_each            = local.money_alarms
  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = "${each.value.description} See docs/operations.md, ${each.key}."
  namespace           = local.emf_namespace
  metric_name         = each.key
  statistic           = "Sum"
  period              = 60
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
}

resource "aws_cloudwatch_metric_alarm" "caps" {
  for_each            = toset(local.caps_nodes)
  alarm_name          = "${each.key}-AdsCapsFull"
  alarm_description   = "Redis will soon have no memory left for frequency caps. See docs/operations.md, AdsCapsFull."
  namespace           = "AWS/ElastiCache"
  metric_name         = "DatabaseMemoryUsagePercentage"
  dimensions          = { CacheClusterId = each.key }
  statistic           = "Maximum"
  period              = 300
  comparison_operator = "GreaterThanThreshold"
  threshold           = 80
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
}

# The outbox, from what the workers that publish it log each minute while its first event waits for longer than a minute.
locals {
  publishing = { for name, service in local.worker_services : name => service if contains(service.background, "outbox-relay") }
  outbox_alarms = {
    OutboxWaits = {
      member      = "oldest_s"
      threshold   = 120
      minutes     = 2
      description = "Events of commands have waited for over two minutes to be published."
    }
    OutboxFills = {
      member      = "rows"
      threshold   = 500000
      minutes     = 1
      description = "Half as many events as commands may write (OUTBOX_MAX_ROWS) wait to be published."
    }
  }
  named_outbox_filters = merge([for name, alarm in local.outbox_alarms : {
    for service in keys(local.publishing) : "${service}-${name}" => { name = name, member = alarm.member, service = service }
  }]...)
}

resource "aws_cloudwatch_log_metric_filter" "outbox" {
  for_each       = local.named_outbox_filters
  name           = "${var.name}-${each.key}"
  log_group_name = module.service[each.value.service].log_group_name
  pattern        = "{ $.message = \"events of the outbox wait to be published\" }"

  metric_transformation {
    namespace = local.emf_namespace
    name      = each.value.name
    value     = "$.${each.value.member}"
    unit      = each.value.member == "rows" ? "Count" : "Seconds"
  }
}

resource "aws_cloudwatch_metric_alarm" "outbox" {
  for_each            = local.outbox_alarms
  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = "${each.value.description} See docs/operations.md, ${each.key}."
  namespace           = local.emf_namespace
  metric_name         = each.key
  statistic           = "Maximum"
  period              = 60
  comparison_operator = "GreaterThanThreshold"
  threshold           = each.value.threshold
  evaluation_periods  = each.value.minutes
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
}

# The API's alarms, from the load balancer's metrics. At 14.4 times the rate that would use up an error budget
# of 0.1 % in exactly 30 days, 2 % of the budget is used in an hour.
resource "aws_cloudwatch_metric_alarm" "errors" {
  alarm_name          = "${var.name}-ErrorBudgetBurnsFast"
  alarm_description   = "More than 1.44 % of the requests fail. See docs/operations.md, ErrorBudgetBurnsFast."
  comparison_operator = "GreaterThanThreshold"
  threshold           = 1.44
  evaluation_periods  = 2
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]

  metric_query {
    id          = "told"
    label       = "Requests that fail, in per cent"
    expression  = "100 * (FILL(ours, 0) + FILL(balancers, 0)) / requests"
    return_data = true
  }

  dynamic "metric_query" {
    for_each = {
      ours      = "HTTPCode_Target_5XX_Count"
      balancers = "HTTPCode_ELB_5XX_Count"
      requests  = "RequestCount"
    }
    content {
      id = metric_query.key

      metric {
        namespace   = "AWS/ApplicationELB"
        metric_name = metric_query.value
        stat        = "Sum"
        period      = 300
        dimensions  = { LoadBalancer = aws_lb.api.arn_suffix }
      }
    }
  }
}

locals {
  target_alarms = {
    # One target that stays unhealthy, or several in turn.
    SomeAreUnhealthy = { metric = "UnHealthyHostCount", stat = "Minimum", comparison = "GreaterThanThreshold", threshold = 0, minutes = 10, missing = "notBreaching" }
    NobodyAnswers    = { metric = "HealthyHostCount", stat = "Maximum", comparison = "LessThanThreshold", threshold = 1, minutes = 2, missing = "breaching" }
  }
}

# One set per API service. For `api-service` the name is the alarm's.
resource "aws_cloudwatch_metric_alarm" "targets" {
  for_each = merge([for service in keys(local.api_services) : {
    for name, alarm in local.target_alarms :
    (service == "api-service" ? name : "${service}-${name}") =>
    merge(alarm, { service = service, balancer = local.api_services[service].balancer })
  }]...)
  alarm_name        = "${var.name}-${each.key}"
  alarm_description = "Tasks of ${each.value.service} that the load balancer finds ready. See docs/operations.md, NobodyAnswers."
  namespace         = "AWS/ApplicationELB"
  metric_name       = each.value.metric
  statistic         = each.value.stat
  dimensions = {
    LoadBalancer = local.balancers[each.value.balancer].arn_suffix
    TargetGroup  = aws_lb_target_group.api[each.value.service].arn_suffix
  }
  period              = 60
  comparison_operator = each.value.comparison
  threshold           = each.value.threshold
  evaluation_periods  = each.value.minutes
  treat_missing_data  = each.value.missing
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
}
