-- The latencies within which so many of 100 requests were answered, as a list.
local function percentiles(latency)
   local list = {}
   for at, percent in ipairs({50, 75, 90, 95, 99, 99.9}) do list[at] = latency:percentile(percent) end
   return table.concat(list, ',')
end

-- Called by wrk when the load is over: one line of JSON instead of the rounded figures of its own report.
function done(summary, latency, requests)
   local errors = summary.errors
   io.write(string.format(
      'wrk-summary {"requests":%d,"microseconds":%d,"percentiles":[%s],"connect":%d,"read":%d,"write":%d,"timeout":%d}\n',
      summary.requests, summary.duration, percentiles(latency),
      errors.connect, errors.read, errors.write, errors.timeout))
end
