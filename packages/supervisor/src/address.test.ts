import { describe, expect, test } from "vitest";
import { formatAddress, parseAddress } from "./address.ts";

describe("parseAddress", () => {
  test.each([
    ["127.0.0.1:8080", { protocol: "http", kind: "tcp", host: "127.0.0.1", port: 8080 }, "http://127.0.0.1:8080"],
    ["localhost:0", { protocol: "http", kind: "tcp", host: "localhost", port: 0 }, "http://localhost:0"],
    ["[::1]:80", { protocol: "http", kind: "tcp", host: "::1", port: 80 }, "http://[::1]:80"],
    ["http://[::]:80/", { protocol: "http", kind: "tcp", host: "::", port: 80 }, "http://[::]:80"],
    [":8080", { protocol: "http", kind: "tcp", host: "", port: 8080 }, "http://*:8080"],
    ["*:8080", { protocol: "http", kind: "tcp", host: "", port: 8080 }, "http://*:8080"],
    ["8080", { protocol: "http", kind: "tcp", host: "", port: 8080 }, "http://*:8080"],
    [
      "link://app.internal:9000",
      { protocol: "link", kind: "tcp", host: "app.internal", port: 9000 },
      "link://app.internal:9000",
    ],
    ["unix:/run/app.sock", { protocol: "http", kind: "unix", path: "/run/app.sock" }, "unix:/run/app.sock"],
    ["unix:///run/app.sock", { protocol: "http", kind: "unix", path: "/run/app.sock" }, "unix:/run/app.sock"],
    ["http+unix:app.sock", { protocol: "http", kind: "unix", path: "app.sock" }, "unix:app.sock"],
    ["link+unix:/run/app.sock", { protocol: "link", kind: "unix", path: "/run/app.sock" }, "link+unix:/run/app.sock"],
    ["fd://3", { protocol: "http", kind: "fd", fd: 3 }, "fd://3"],
    ["link+fd://4", { protocol: "link", kind: "fd", fd: 4 }, "link+fd://4"],
    ["systemd:", { protocol: "http", kind: "systemd", name: undefined }, "systemd:"],
    ["link+systemd:app", { protocol: "link", kind: "systemd", name: "app" }, "link+systemd:app"],
  ])("%s", (text, address, formatted) => {
    expect(parseAddress(text)).toEqual(address);
    expect(formatAddress(parseAddress(text))).toBe(formatted);
  });

  test.each([
    ["localhost", "no port"],
    ["", "no port"],
    ["localhost:http", "port is not a number"],
    ["localhost:70000", "above 65535"],
    ["::1:80", "port is not a number"],
    ["https://localhost:443", "scheme is not known"],
    ["unix:", "no usable path"],
    [`unix:/${"x".repeat(110)}`, "at most"],
    ["fd://x", "not a number"],
    ["host name:80", "port is not a number"],
  ])("refuses %s: %s", (text, why) => {
    expect(() => parseAddress(text)).toThrow(
      expect.objectContaining({ code: "address_invalid", message: expect.stringContaining(why) }),
    );
  });
});
