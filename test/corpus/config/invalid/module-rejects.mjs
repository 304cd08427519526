export default Promise.reject(new RangeError("no secret in the vault"));
