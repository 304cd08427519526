const body = "Hello from the application, exactly fifty bytes.\n\n";

export default {
  fetch: (): { status: number; headers: Record<string, string>; body: string } => ({
    status: 200,
    headers: { "content-type": "text/plain" },
    body,
  }),
};
