export default { sites: [ };
