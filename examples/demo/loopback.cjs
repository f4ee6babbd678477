// Preloaded into the demo's HTTP server, which would listen on every address: this keeps it on loopback.
"use strict";

const { Server } = require("node:net");

const listen = Server.prototype.listen;

Server.prototype.listen = function (port, ...rest) {
  return /^\d+$/.test(String(port))
    ? listen.call(this, { port: Number(port), host: "127.0.0.1" }, ...rest.filter((part) => typeof part === "function"))
    : listen.call(this, port, ...rest);
};
