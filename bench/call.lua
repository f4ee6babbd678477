-- Unique arguments in every call; token, path and headers come from the environment.
local token = os.getenv("BENCH_TOKEN")
local name = os.getenv("BENCH_TOOL")
local count = 0

function request()
  count = count + 1
  local body = string.format(
    '{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"%s","arguments":{"query":"revenue %d","limit":10},' ..
    '"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}',
    count, name, count)
  return wrk.format("POST", "/mcp", {
    ["Host"] = "localhost:" .. os.getenv("BENCH_PORT"),
    ["Authorization"] = "Bearer " .. token,
    ["Content-Type"] = "application/json",
    ["Accept"] = "application/json, text/event-stream",
    ["MCP-Protocol-Version"] = "2026-07-28",
    ["Mcp-Method"] = "tools/call",
    ["Mcp-Name"] = name,
  }, body)
end

local bad = 0
function response(status, headers, body)
  if status ~= 200 or not string.find(body, "nothing found", 1, true) then
    bad = bad + 1
    if bad <= 3 then io.stderr:write("unexpected: " .. status .. " " .. string.sub(body, 1, 300) .. "\n") end
  end
end
