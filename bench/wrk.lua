-- Sends the requests of a file, one a line, in turn: bodies where there is a content type, else paths. The first
-- request has the first token of a file, and so on, in turn.
--   wrk ... -s wrk.lua URL -- FILE TOKENS [CONTENT-TYPE]
-- They are built before the first one is sent, so that what is measured is not this script.

local requests, at = {}, 0

function init(args)
  local file, content_type = args[1], args[3]
  local tokens = {}
  for token in io.lines(args[2]) do
    tokens[#tokens + 1] = token
  end
  for line in io.lines(file) do
    local token = tokens[#requests % #tokens + 1]
    local headers = { ["Authorization"] = "Bearer " .. token, ["Content-Type"] = content_type }
    if content_type then
      requests[#requests + 1] = wrk.format("POST", nil, headers, line)
    else
      requests[#requests + 1] = wrk.format("GET", line, headers)
    end
  end
end

function request()
  at = at % #requests + 1
  return requests[at]
end

-- wrk gives its figures to nobody but a script; this one writes them as a line of JSON.
function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests":%d,"microseconds":%d,"failed":%d,"p50":%d,"p99":%d,"p999":%d}\n',
    summary.requests, summary.duration, errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
