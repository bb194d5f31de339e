// SPDX-License-Identifier: MIT
// http_node.js PORT: HTTP, keep-alive; the answer to a POST is its body, to a GET "hello" lines.
"use strict";
const http = require("http");

const server = http.createServer((request, response) => {
	if (request.method === "POST") {
		const parts = [];
		request.on("data", (part) => parts.push(part));
		request.on("end", () => response.end(Buffer.concat(parts)));
		return;
	}
	response.setHeader("Content-Type", "text/plain");
	response.end("hello\n".repeat(2000));
});
server.keepAliveTimeout = 60000;
server.listen(Number(process.argv[2]), "0.0.0.0");
