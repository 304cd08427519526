export default { sites: () => [] };
