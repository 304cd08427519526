import { LightResponse } from "./light-response.ts";
import { LazyRequest } from "./request.ts";

/** The constructor put in place, so that it is done once per process even if two copies of this package are loaded. */
const MARK = Symbol.for("@portico/gateway.acceptsLazyRequests");

/**
 * Makes `new Request(request, …)`, `class X extends Request` and `fetch(request)` accept the requests of this host.
 *
 * Those constructors look at private fields, which only a `Request` that they made themselves has. Nothing else about
 * them changes: `Request.prototype` and `instanceof` are the platform's own, and calls without one of our requests go through as they are.
 * Call it before the application is loaded, because a class that extends `Request` binds it then; `createHost` calls
 * it too unless its option `globals` is `untouched`. Does nothing the second time.
 */
export function acceptLazyRequests(): void {
  const RealRequest = globalThis.Request;
  if (MARK in RealRequest) return;
  const Accepting: typeof Request = new Proxy(RealRequest, {
    construct(target, parameters, newTarget) {
      if (LazyRequest.is(parameters[0])) parameters[0] = LazyRequest.materialise(parameters[0]);
      return Reflect.construct(target, parameters, newTarget === Accepting ? target : newTarget) as object;
    },
    has: (target, key) => key === MARK || Reflect.has(target, key),
  });
  const realFetch = globalThis.fetch;
  const acceptingFetch: typeof fetch = (input, init) =>
    realFetch(LazyRequest.is(input) ? LazyRequest.materialise(input) : input, init);
  Object.defineProperty(acceptingFetch, "name", { value: "fetch" });
  globalThis.Request = Accepting;
  globalThis.fetch = acceptingFetch;
}

const LIGHT_MARK = Symbol.for("@portico/gateway.makesLightResponses");

/**
 * Makes `new Response(text or bytes, init)` cost a fraction: the object that comes out passes for a `Response` in every
 * respect but one, that platform functions which look at private fields (`cache.put`, structured cloning) do not know it.
 *
 * For workers whose application is Hono, h3 or another that answers with Responses. Not done unless asked for, because it
 * replaces a constructor of the platform for the whole process. Does nothing the second time.
 */
export function makeLightResponses(): void {
  const RealResponse = globalThis.Response;
  if (LIGHT_MARK in RealResponse) return;
  const Light: typeof Response = new Proxy(RealResponse, {
    construct(target, parameters, newTarget) {
      if (newTarget !== Light) return Reflect.construct(target, parameters, newTarget) as object;
      return LightResponse.make(parameters[0], parameters[1]) ?? (Reflect.construct(target, parameters) as object);
    },
    has: (target, key) => key === LIGHT_MARK || Reflect.has(target, key),
  });
  globalThis.Response = Light;
}
