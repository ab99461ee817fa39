-- Wireshark dissector for the tapwall chat protocol (docs/wire.md). Made by: tapwall chat dissector > tw.lua
--
-- Use:      tshark -X lua_script:tw.lua -r capture.pcapng -Y tapwall
-- or put it into the folder "Personal Lua Plugins" of Help > About Wireshark > Folders.
-- Port 1234, any other port by content, and inside TLS with a key log file. Filters: tapwall.type, tapwall.room,
-- tapwall.sender, tapwall.data.file_id, json.* for the rest of a body; _ws.expert for what is wrong with a frame.

local HEADER = 12
local CAP = 1048576 + 12   -- the largest body of the protocol; a hostile length must not hold reassembly
local CAPTURED = 1234      -- the default port

local names = {
  [0x01] = "HELLO", [0x02] = "WELCOME", [0x03] = "AUTH", [0x04] = "AUTH_OK", [0x05] = "ERROR", [0x06] = "PING",
  [0x07] = "PONG", [0x08] = "GOAWAY", [0x09] = "NOTICE", [0x10] = "JOIN", [0x11] = "PART", [0x12] = "MEMBERS",
  [0x13] = "PRESENCE", [0x20] = "SEND", [0x21] = "ACK", [0x22] = "MSG", [0x23] = "HISTORY", [0x24] = "RESUME",
  [0x25] = "GAP", [0x30] = "OFFER", [0x31] = "ACCEPT", [0x32] = "DATA", [0x33] = "CREDIT", [0x34] = "FETCH",
  [0x35] = "DONE", [0x40] = "ADMIN",
}
local AUTH, DATA = 0x03, 0x32
local IGNORABLE = 0x0001

local tapwall = Proto("tapwall", "tapwall chat")
local f = {
  version = ProtoField.uint8("tapwall.version", "Version"),
  type = ProtoField.uint8("tapwall.type", "Type", base.HEX, names),
  flags = ProtoField.uint16("tapwall.flags", "Flags", base.HEX),
  ignorable = ProtoField.bool("tapwall.flags.ignorable", "Ignorable if unknown", 16, nil, IGNORABLE),
  channel = ProtoField.uint16("tapwall.channel", "Channel"),
  length = ProtoField.uint32("tapwall.length", "Body length"),
  room = ProtoField.string("tapwall.room", "Room"),
  sender = ProtoField.string("tapwall.sender", "Sender"),
  code = ProtoField.string("tapwall.error", "Error code"),
  file_id = ProtoField.bytes("tapwall.data.file_id", "File id"),
  offset = ProtoField.uint64("tapwall.data.offset", "Offset"),
  crc = ProtoField.uint32("tapwall.data.crc32c", "CRC-32C", base.HEX),
  payload = ProtoField.bytes("tapwall.data.payload", "File bytes"),
}
tapwall.fields = {
  f.version, f.type, f.flags, f.ignorable, f.channel, f.length, f.room, f.sender, f.code, f.file_id, f.offset, f.crc, f.payload,
}
local e = {
  magic = ProtoExpert.new("tapwall.bad_magic", "Not a frame of this protocol", expert.group.MALFORMED, expert.severity.ERROR),
  version = ProtoExpert.new("tapwall.bad_version", "Unknown version", expert.group.PROTOCOL, expert.severity.WARN),
  type = ProtoExpert.new("tapwall.unknown_type", "Unknown frame type", expert.group.UNDECODED, expert.severity.WARN),
  flags = ProtoExpert.new("tapwall.bad_flags", "Unknown flag bits", expert.group.PROTOCOL, expert.severity.WARN),
  length = ProtoExpert.new("tapwall.oversize", "Length beyond the protocol's cap", expert.group.MALFORMED, expert.severity.ERROR),
  data = ProtoExpert.new("tapwall.short_data", "DATA shorter than its own head", expert.group.MALFORMED, expert.severity.ERROR),
  secret = ProtoExpert.new("tapwall.clear_secret", "Secret readable by everybody on the path", expert.group.SECURITY, expert.severity.WARN),
}
tapwall.experts = { e.magic, e.version, e.type, e.flags, e.length, e.data, e.secret }

local json = Dissector.get("json")
local tls = Dissector.get("tls")
local inside_tls = Field.new("tls.record.content_type")

-- The value of the first `"key":"value"` of a body. An escaped quote cannot imitate the pattern; a value with escapes is
-- left to the JSON tree.
local function value(body, key)
  return body:match('"' .. key .. '":"([^"\\]*)"')
end

local function dissect_data(tvb, tree)
  if tvb:len() < HEADER + 28 then
    tree:add_tvb_expert_info(e.data, tvb(HEADER))
    return ""
  end
  tree:add(f.file_id, tvb(12, 16))
  tree:add(f.offset, tvb(28, 8))
  tree:add(f.crc, tvb(36, 4))
  if tvb:len() > HEADER + 28 then
    tree:add(f.payload, tvb(40))
  end
  return string.format(" offset %s, %d bytes", tostring(tvb(28, 8):uint64()), tvb:len() - HEADER - 28)
end

local function dissect_json(tvb, pinfo, tree, kind)
  local body = tvb(HEADER):string()
  local room, sender, code = value(body, "room"), value(body, "sender"), value(body, "code")
  if room then tree:add(f.room, tvb(HEADER), room):set_generated() end
  if sender then tree:add(f.sender, tvb(HEADER), sender):set_generated() end
  if kind == 0x05 and code then tree:add(f.code, tvb(HEADER), code):set_generated() end
  if kind == AUTH and body:find('"secret":"', 1, true) and not inside_tls() then
    tree:add_tvb_expert_info(e.secret, tvb(HEADER))
  end
  json:call(tvb(HEADER):tvb(), pinfo, tree)
  return (room and " " .. room or "") .. (sender and " " .. sender or "") .. (kind == 0x05 and code and " " .. code or "")
end

-- One whole frame in `tvb`; the words for the Info column.
local function dissect_frame(tvb, pinfo, root)
  local version, kind, flags = tvb(2, 1):uint(), tvb(3, 1):uint(), tvb(4, 2):uint()
  local name = names[kind] or string.format("type 0x%02x", kind)
  local tree = root:add(tapwall, tvb(), "tapwall chat, " .. name)
  local version_item = tree:add(f.version, tvb(2, 1))
  if version ~= 1 then version_item:add_proto_expert_info(e.version) end
  local type_item = tree:add(f.type, tvb(3, 1))
  if not names[kind] then type_item:add_proto_expert_info(e.type) end
  local flags_item = tree:add(f.flags, tvb(4, 2))
  flags_item:add(f.ignorable, tvb(4, 2))
  if flags > IGNORABLE then flags_item:add_proto_expert_info(e.flags) end
  tree:add(f.channel, tvb(6, 2))
  tree:add(f.length, tvb(8, 4))
  if kind == DATA then return name .. dissect_data(tvb, tree) end
  if tvb:len() == HEADER then return name end
  return name .. dissect_json(tvb, pinfo, tree, kind)
end

local function stop(tvb, root, offset, what)
  root:add(tapwall, tvb(offset)):add_tvb_expert_info(what, tvb(offset, math.min(HEADER, tvb:len() - offset)))
end

-- Ask for the rest of a frame that began at `offset`. False if this capture cannot be put together.
local function want(tvb, pinfo, offset, missing)
  if pinfo.can_desegment == 0 then return false end
  pinfo.desegment_offset = offset
  pinfo.desegment_len = missing
  return true
end

function tapwall.dissector(tvb, pinfo, root)
  local first = tvb(0, 1):uint()
  if first >= 0x14 and first <= 0x17 and tvb:len() > 1 and tvb(1, 1):uint() == 3 then return tls:call(tvb, pinfo, root) end
  if tvb:len() >= 2 and tvb(0, 2):string() ~= "TW" then return 0 end
  local offset, said = 0, {}
  while offset < tvb:len() do
    local left = tvb:len() - offset
    if tvb(offset, math.min(2, left)):string() ~= ("TW"):sub(1, left) then
      stop(tvb, root, offset, e.magic)
      break
    end
    if left < HEADER then
      want(tvb, pinfo, offset, DESEGMENT_ONE_MORE_SEGMENT)
      break
    end
    local size = HEADER + tvb(offset + 8, 4):uint()
    if size > CAP then
      stop(tvb, root, offset, e.length)
      break
    end
    if left < size then
      want(tvb, pinfo, offset, size - left)
      break
    end
    said[#said + 1] = dissect_frame(tvb(offset, size):tvb(), pinfo, root)
    offset = offset + size
  end
  pinfo.cols.protocol = "TAPWALL" -- the JSON dissector adds itself
  if #said > 0 then pinfo.cols.info = table.concat(said, "; ", 1, math.min(#said, 8)) .. (#said > 8 and "; …" or "") end
  return tvb:len()
end

-- Any port: the whole first header must be one of ours, so that no other protocol is taken by chance.
local function by_content(tvb, pinfo, root)
  if tvb:len() < HEADER or tvb(0, 2):string() ~= "TW" or tvb(2, 1):uint() ~= 1 then return false end
  if not names[tvb(3, 1):uint()] or tvb(4, 2):uint() > IGNORABLE or tvb(8, 4):uint() + HEADER > CAP then return false end
  pinfo.conversation = tapwall
  tapwall.dissector(tvb, pinfo, root)
  return true
end

DissectorTable.get("tcp.port"):add(CAPTURED, tapwall)
tapwall:register_heuristic("tcp", by_content)
tapwall:register_heuristic("tls", by_content)
pcall(function() DissectorTable.get("tls.alpn"):add("tapwall/1", tapwall) end)
