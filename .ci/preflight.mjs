// Says in one line what this machine lacks before anything is installed. Runs on any Node from 20 on.
import { existsSync } from "node:fs";

const major = Number(process.versions.node.split(".")[0]);
if (major < 20) {
  console.error(
    `portico: Node ${process.versions.node} is too old to install the workspace; Node 20 or newer is needed.`,
  );
  process.exit(1);
}
if (process.platform === "linux") {
  const folders = ["/lib", "/usr/lib", "/lib64", "/usr/lib64"];
  const triplets = ["x86_64-linux-gnu", "aarch64-linux-gnu", ""];
  const found = folders.some((folder) => triplets.some((triplet) => existsSync(`${folder}/${triplet}/libatomic.so.1`)));
  if (!found) {
    console.error(
      "portico: libatomic.so.1 is missing, and Node 26 needs it. On Debian and Ubuntu: apt-get install libatomic1",
    );
    process.exit(1);
  }
}
