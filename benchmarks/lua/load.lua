-- Load for wrk: `wrk -s load.lua URL -- [keepalive | vary | close [vary] | pipeline N | post SIZE]`.
-- At the end prints one line, "result KEY=VALUE ...", that benchmarks/load/wrk.py reads. Times in microseconds.

local function vary()
   local count = 0
   request = function()
      count = count + 1
      return wrk.format(nil, wrk.path .. "?n=" .. count)
   end
end

function init(args)
   local mode = args[1] or "keepalive"
   if mode == "close" then
      wrk.headers["Connection"] = "close"
      if args[2] == "vary" then
         vary()
      end
   elseif mode == "vary" then
      vary()
   elseif mode == "post" then
      wrk.method = "POST"
      wrk.headers["Content-Type"] = "application/octet-stream"
      wrk.body = string.rep("x", tonumber(args[2]))
   elseif mode == "pipeline" then
      local batch = string.rep(wrk.format(), tonumber(args[2]))
      request = function() return batch end
   end
end

function done(summary, latency, requests)
   local found = {
      requests = summary.requests,
      duration_us = summary.duration,
      bytes = summary.bytes,
      connect_errors = summary.errors.connect,
      read_errors = summary.errors.read,
      write_errors = summary.errors.write,
      status_errors = summary.errors.status,
      timeouts = summary.errors.timeout,
      mean_us = latency.mean,
      p50_us = latency:percentile(50),
      p99_us = latency:percentile(99),
      p999_us = latency:percentile(99.9),
   }
   local words = { "result" }
   for key, value in pairs(found) do
      words[#words + 1] = string.format("%s=%d", key, value)
   end
   io.write(table.concat(words, " "), "\n")
end
