-- Load for wrk: `wrk -s load.lua URL -- [keepalive | vary | close [vary] | pipeline N | post SIZE]`.
-- At the end prints one line, "result KEY=VALUE ...", that benchmarks/load/wrk.py reads. Times in microseconds.

-- Each thread has a number, and each run (the one that warms up, too) a word of its own: no two requests are alike.
local threads = 0
local word

function setup(thread)
   if word == nil then
      local random = assert(io.open("/dev/urandom", "rb"))
      word = string.gsub(random:read(6), ".", function(byte) return string.format("%02x", string.byte(byte)) end)
      random:close()
   end
   threads = threads + 1
   thread:set("run", word .. threads)
end

-- The path, the query and the cookie of a request belong to it alone.
local function vary()
   local count = 0
   request = function()
      count = count + 1
      local own = run .. "-" .. count
      wrk.headers["Cookie"] = "session=" .. own
      return wrk.format(nil, wrk.path .. "item/" .. own .. "?n=" .. own)
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
