-- Sends the requests of a file, one a line, in turn: bodies where there is a content type, else paths.
--   wrk ... -s wrk.lua URL -- FILE TOKEN [CONTENT-TYPE]
-- They are built before the first one is sent, so that what is measured is not this script.

local requests, at = {}, 0

function init(args)
  local file, token, content_type = args[1], args[2], args[3]
  local headers = { ["Authorization"] = "Bearer " .. token, ["Content-Type"] = content_type }
  for line in io.lines(file) do
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
