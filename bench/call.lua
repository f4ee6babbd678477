-- The mix that bench/calls.py describes: a third of the calls sensitive, both eras in turn, unique arguments, and
-- another principal in every call. BENCH_TOOL names one tool for all calls instead; BENCH_ERA=legacy leaves the newer era
-- out; BENCH_SESSION is the session of all calls; BENCH_TOKENS is a file, a token a line.
local host = "localhost:" .. os.getenv("BENCH_PORT")
local only = os.getenv("BENCH_TOOL")
local session = os.getenv("BENCH_SESSION")
local both = os.getenv("BENCH_ERA") ~= "legacy"
local tokens = {}
local count = 0

function init()
  for line in io.lines(os.getenv("BENCH_TOKENS")) do
    tokens[#tokens + 1] = line
  end
end

function request()
  local name = only or (count % 3 == 0 and "medium__search" or "low__search")
  local headers = {
    ["Host"] = host,
    ["Authorization"] = "Bearer " .. tokens[count % #tokens + 1],
    ["Content-Type"] = "application/json",
    ["Accept"] = "application/json, text/event-stream",
  }
  if session and session ~= "" then
    headers["Mcp-Session-Id"] = session
    headers["MCP-Protocol-Version"] = "2025-11-25"
  end
  local meta = ""
  if both and math.floor(count / 3) % 2 == 0 then
    headers["MCP-Protocol-Version"] = "2026-07-28"
    headers["Mcp-Method"] = "tools/call"
    headers["Mcp-Name"] = name
    meta = ',"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}'
  end
  local body = string.format(
    '{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"%s","arguments":{"query":"revenue %d","limit":10}%s}}',
    count, name, count, meta)
  count = count + 1
  return wrk.format("POST", "/mcp", headers, body)
end

local bad = 0
function response(status, headers, body)
  if status ~= 200 or not string.find(body, "nothing found", 1, true) then
    bad = bad + 1
    if bad <= 3 then io.stderr:write("unexpected: " .. status .. " " .. string.sub(body, 1, 300) .. "\n") end
  end
end
