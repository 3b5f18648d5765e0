// Makes dist/NAME.wasm of a project: `node sdk/build.mjs`, in the project's folder. What is TypeScript is checked and translated first.
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { componentize } from "componentize-qjs";

const project = process.cwd();
const { name } = JSON.parse(readFileSync("package.json", "utf8"));
let root = project;
if (existsSync("src/plugin.ts")) {
  root = path.join(project, "build");
  try {
    execFileSync(process.execPath, ["node_modules/typescript/bin/tsc", "--project", "tsconfig.json"], { stdio: "inherit" });
  } catch {
    process.exit(1); // the compiler has said why
  }
  cpSync("sdk", path.join(root, "sdk"), { recursive: true });
}
const entry = path.join(root, "sdk/component.js");
const { component } = await componentize({
  witPath: path.join(project, "wit"),
  jsSource: readFileSync(entry, "utf8"),
  jsPath: entry,
  moduleRoot: root,
  world: "policy",
  sync: true,
  stubWasi: true,
});
mkdirSync("dist", { recursive: true });
writeFileSync(`dist/${name}.wasm`, component);
