-- Called by wrk when the load is over: one line of JSON instead of the rounded figures of its own report.
function done(summary, latency, requests)
   local errors = summary.errors
   io.write(string.format(
      'wrk-summary {"requests":%d,"microseconds":%d,"p50":%d,"p99":%d,"connect":%d,"read":%d,"write":%d,"timeout":%d}\n',
      summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
      errors.connect, errors.read, errors.write, errors.timeout))
end
