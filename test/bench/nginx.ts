/**
 * nginx as its users tune it: one worker process (one core), sendfile, open_file_cache, keep-alive to the upstream,
 * no access log unless the row is about it, and then a buffered one. Everything it writes stays in the folder of the run.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { launch, type Launched, which } from "./processes.ts";

export function nginxStatic(folder: string, port: number, root: string, logged = false): Launched {
  return nginx(
    folder,
    logged,
    `open_file_cache max=1000 inactive=60s; open_file_cache_valid 30s;
     server { listen 127.0.0.1:${port} backlog=1024; root ${root}; location / { } }`,
  );
}

export function nginxProxy(folder: string, port: number, upstream: string, logged = false): Launched {
  return nginx(
    folder,
    logged,
    `upstream app { server ${upstream}; keepalive 256; keepalive_requests 1000000; }
     server { listen 127.0.0.1:${port} backlog=1024;
       location / { proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection "";
         proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme; } }`,
  );
}

function nginx(folder: string, logged: boolean, http: string): Launched {
  mkdirSync(join(folder, "nginx"), { recursive: true });
  const file = join(folder, "nginx", "nginx.conf");
  const log = logged ? `${folder}/nginx/access.log combined buffer=64k flush=1s` : "off";
  writeFileSync(
    file,
    `daemon off; worker_processes 1; user root; pid ${folder}/nginx/pid; error_log ${folder}/nginx/error.log;
     events { worker_connections 20000; multi_accept on; }
     http { access_log ${log}; sendfile on; tcp_nopush on; tcp_nodelay on; types { } default_type application/octet-stream;
       client_body_temp_path ${folder}/nginx/body; proxy_temp_path ${folder}/nginx/proxy; fastcgi_temp_path ${folder}/nginx/fastcgi;
       uwsgi_temp_path ${folder}/nginx/uwsgi; scgi_temp_path ${folder}/nginx/scgi;
       ${http} }\n`,
  );
  return launch(which("nginx")!, ["-c", file, "-p", join(folder, "nginx"), "-e", join(folder, "nginx", "error.log")]);
}
