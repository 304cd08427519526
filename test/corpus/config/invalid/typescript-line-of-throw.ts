const wanted: string | undefined = process.env["PORTICO_NOT_SET_ANYWHERE"];

if (wanted === undefined) throw new Error("PORTICO_NOT_SET_ANYWHERE is missing");

export default { sites: [{ hosts: [wanted], routes: [{ path: "/*", respond: {} }] }] };
